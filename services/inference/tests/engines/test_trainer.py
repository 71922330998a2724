import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import pytest

from services.inference.tests.fakes import ADA
from tidemill.trainer.v1 import model_pb2, model_registry_service_pb2
from tidemill.trainer.v1.model_registry_service_pb2_grpc import add_ModelRegistryServiceServicer_to_server
from tidemill_core.approvals import ApprovalMissing
from tidemill_core.deadlines import bind_deadline
from tidemill_inference.engines.trainer import TrainerModels
from tidemill_inference.errors import ModelRefused
from tidemill_inference.rollouts.domain.errors import CandidateNotReady
from tidemill_inference.rollouts.trainer import TrainerCandidates
from tidemill_testkit.access import service_channel
from tidemill_testkit.polling import eventually
from tidemill_testkit.stubs.trainer import Context, StubModelRegistry

FOLDER = model_pb2.ModelSource(folder=model_pb2.FolderSource())


class Registry(StubModelRegistry):
    """Has `gpt@1`, and counts how often it is asked for it."""

    def __init__(self, source: model_pb2.ModelSource) -> None:
        super().__init__()
        self.asked = 0
        self.change(source)

    def change(self, source: model_pb2.ModelSource) -> None:
        self.add(model_pb2.ModelVersion(id="gpt@1", digest="d", source=source))

    async def GetModelVersion(  # noqa: N802 - the contract's name
        self, request: model_registry_service_pb2.GetModelVersionRequest, context: Context
    ) -> model_registry_service_pb2.GetModelVersionResponse:
        self.asked += 1
        return await super().GetModelVersion(request, context)


def remote(secret: str) -> model_pb2.ModelSource:
    return model_pb2.ModelSource(
        openai=model_pb2.OpenAiSource(model="gpt", base_url="https://api.example/v1", api_key_secret=secret)
    )


@dataclass(frozen=True, kw_only=True)
class Known:
    """What inference knows of the registry."""

    registry: Registry
    server: grpc.aio.Server
    models: TrainerModels
    address: str


@asynccontextmanager
async def known(
    source: model_pb2.ModelSource, *, recheck_s: float, monotonic: Callable[[], float] = time.monotonic
) -> AsyncIterator[Known]:
    registry, server = Registry(source), grpc.aio.server()  # type: ignore[abstract] # it has what inference calls
    add_ModelRegistryServiceServicer_to_server(registry, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with service_channel("inference", f"127.0.0.1:{port}", name="trainer") as channel:
        models = TrainerModels(channel, timeout_s=5, recheck_s=recheck_s, monotonic=monotonic)
        yield Known(registry=registry, server=server, models=models, address=f"127.0.0.1:{port}")
    await server.stop(None)


async def test_a_reward_model_is_refused_by_name_where_a_model_has_to_answer() -> None:
    async with known(FOLDER, recheck_s=0) as trainer:
        reward = model_pb2.ModelVersion(id="gpt@2", source=FOLDER, kind=model_pb2.MODEL_KIND_REWARD_MODEL)
        trainer.registry.add(reward)
        why = "gpt@2 .*it is a reward model, which scores answers and generates none"

        with pytest.raises(ModelRefused, match=why):
            await trainer.models.resolve(ADA, "gpt@2", field="model")
        async with service_channel("inference", trainer.address, name="trainer") as channel:
            with pytest.raises(CandidateNotReady, match=why):
                await TrainerCandidates(channel, timeout_s=5).check(ADA, "gpt@2")


async def test_another_secret_of_a_remote_model_counts_without_a_restart() -> None:
    secrets = []
    async with known(remote("OLD_KEY"), recheck_s=0) as trainer:
        for name in ("OLD_KEY", "NEW_KEY"):
            trainer.registry.change(remote(name))
            found = await trainer.models.resolve(ADA, "gpt@1", field="model")
            secrets.append(found.remote and found.remote.secret)

    assert secrets == ["OLD_KEY", "NEW_KEY"]


async def test_a_remote_model_answers_on_while_the_trainer_is_down() -> None:
    async with known(remote("KEY"), recheck_s=0) as trainer:
        first = await trainer.models.resolve(ADA, "gpt@1", field="model")
        await trainer.server.stop(None)

        assert await trainer.models.resolve(ADA, "gpt@1", field="model") == first


async def test_a_model_of_files_is_asked_for_once_and_a_remote_one_once_in_a_while() -> None:
    for source, recheck_s in ((FOLDER, 0.0), (remote("KEY"), 60.0)):
        async with known(source, recheck_s=recheck_s) as trainer:
            for _ in range(3):
                await trainer.models.resolve(ADA, "gpt@1", field="model")
            assert trainer.registry.asked == 1


async def test_a_remote_model_in_use_is_asked_for_again_beside_the_calls_that_need_it() -> None:
    now = [0.0]
    async with known(remote("OLD_KEY"), recheck_s=5, monotonic=lambda: now[0]) as trainer:

        async def secret() -> str:
            found = await trainer.models.resolve(ADA, "gpt@1", field="model")
            assert found.remote is not None
            return found.remote.secret

        assert await secret() == "OLD_KEY"
        trainer.registry.change(remote("NEW_KEY"))
        now[0] = 3.0
        assert await secret() == "OLD_KEY"

        async def is_new() -> bool:
            return await secret() == "NEW_KEY"

        await eventually(is_new)
        assert trainer.registry.asked == 2
        now[0] = 5.0
        assert await secret() == "NEW_KEY"


async def test_of_several_calls_at_the_same_time_one_asks_for_a_model() -> None:
    async with known(remote("KEY"), recheck_s=0) as trainer:
        found = await asyncio.gather(*(trainer.models.resolve(ADA, "gpt@1", field="model") for _ in range(5)))

        assert found == [found[0]] * 5
        assert trainer.registry.asked == 1


async def test_a_caller_with_little_time_left_does_not_cut_off_the_others_that_wait_with_it() -> None:
    async with known(remote("KEY"), recheck_s=5) as trainer:

        async def asked(left_s: float) -> str:
            bind_deadline(left_s)
            return (await trainer.models.resolve(ADA, "gpt@1", field="model")).id

        assert [*await asyncio.gather(asked(0.0), asked(60.0))] == ["gpt@1", "gpt@1"]
        assert trainer.registry.asked == 1


async def test_a_model_that_is_asked_for_while_its_project_is_deleted_is_not_kept() -> None:
    async with known(remote("KEY"), recheck_s=60) as trainer:
        asking = asyncio.create_task(trainer.models.resolve(ADA, "gpt@1", field="model"))
        await asyncio.sleep(0)
        await trainer.models.forget(ADA.project)
        await asking

        assert trainer.models.projects == set()


async def test_full_weights_that_were_trained_are_loaded_without_what_they_began_with() -> None:
    async with known(FOLDER, recheck_s=60) as trainer:
        source = model_pb2.ModelSource(trained=model_pb2.TrainedSource(finetuned_from="gpt@1"))
        trainer.registry.add(model_pb2.ModelVersion(id="whole@1", digest="e", source=source))

        found = await trainer.models.resolve(ADA, "whole@1", field="model")

        assert (found.id, found.base) == ("whole@1", None)


@pytest.mark.parametrize(
    "source", [model_pb2.TrainedSource(base="gpt@1"), model_pb2.TrainedSource(finetuned_from="gpt@1")], ids=str
)
async def test_approvals_are_asked_for_anew_also_those_of_what_a_run_began_with(
    source: model_pb2.TrainedSource,
) -> None:
    async with (
        known(FOLDER, recheck_s=60) as trainer,
        service_channel("inference", trainer.address, name="trainer") as channel,
    ):
        candidates = TrainerCandidates(channel, timeout_s=5)
        trainer.registry.add(
            model_pb2.ModelVersion(id="lora@1", digest="e", source=model_pb2.ModelSource(trained=source))
        )
        await candidates.check_approved(ADA, "lora@1")

        lacking = model_pb2.ModelVersion(
            id="gpt@1", digest="d", source=FOLDER, missing_approvals=2, approver_role="admin"
        )
        trainer.registry.add(lacking)
        for model in ("gpt@1", "lora@1"):
            with pytest.raises(ApprovalMissing, match="model gpt@1 lacks 2 approvals of the role admin"):
                await candidates.check_approved(ADA, model)
