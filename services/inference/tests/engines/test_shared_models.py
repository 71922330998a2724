"""A model of another project serves as long as that shares it; its files are read where they are."""

from collections.abc import AsyncIterator
from dataclasses import replace

import grpc
import pytest

from services.inference.tests.engines.test_trainer import FOLDER, remote
from services.inference.tests.fakes import ADA, AnsweringHarness, asking, helpdesk, question
from services.inference.tests.rollouts.rollout_fakes import Registered
from tidemill.trainer.v1 import model_pb2, model_registry_service_pb2
from tidemill.trainer.v1.model_registry_service_pb2_grpc import add_ModelRegistryServiceServicer_to_server
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller
from tidemill_core.grpc.client import open_channel
from tidemill_inference.deployments.domain.errors import ReferenceNotFound
from tidemill_inference.deployments.domain.spec import DeploymentSpec
from tidemill_inference.deployments.resolve_configuration import ResolveConfiguration
from tidemill_inference.engines.model_files import ModelFiles
from tidemill_inference.engines.ports import Models, ModelVersion
from tidemill_inference.engines.trainer import TrainerModels
from tidemill_inference.errors import ModelNotShared, ModelRefused
from tidemill_inference.generation.domain.inference import State
from tidemill_kit.access.grants import Grants, Shared
from tidemill_kit.access.revocations import Revocations
from tidemill_testkit.access import grant
from tidemill_testkit.stubs.trainer import Context, StubModelRegistry

NAME = "globex/base"


class Registry(StubModelRegistry):
    """Has a base and an adapter of globex, and two adapters of the project itself."""

    def __init__(self) -> None:
        super().__init__()
        adapter = model_pb2.ModelSource(trained=model_pb2.TrainedSource(base=f"{NAME}@1"))
        for version in (
            model_pb2.ModelVersion(id=f"{NAME}@1", project="globex", digest="b", source=FOLDER),
            model_pb2.ModelVersion(id="globex/tuned@1", project="globex", digest="t", source=adapter),
            model_pb2.ModelVersion(id="globex/gpt@1", project="globex", digest="g", source=remote("")),
            model_pb2.ModelVersion(id="mine@1", project=ADA.project, digest="m", source=adapter),
        ):
            self.add(version)

    async def GetModelVersion(  # noqa: N802 - the contract's name
        self, request: model_registry_service_pb2.GetModelVersionRequest, context: Context
    ) -> model_registry_service_pb2.GetModelVersionResponse:
        response = await super().GetModelVersion(request, context)
        if response.version.id == "globex/tuned@1":
            response.base.CopyFrom(self.versions["", f"{NAME}@1"])
        return response


class Shop:
    """What inference knows of models, and what is shared."""

    def __init__(self, channel: grpc.aio.Channel, registry: Registry) -> None:
        self.grants, self.registry = Grants(Revocations()), registry
        self.models: Models = TrainerModels(
            channel,
            timeout_s=5,
            recheck_s=0,
            shared=lambda project, name: self.grants.resolve(project, Shared.MODEL, name),
        )

    def share(self, name: str, *, seq: int = 1, revoked: bool = False) -> None:
        self.grants.apply(grant(name, Shared.MODEL, to=ADA.project, seq=seq, revoked=revoked))

    async def resolve(self, name: str) -> ModelVersion:
        return await self.models.resolve(ADA, name, field="model")


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    registry, server = Registry(), grpc.aio.server()  # type: ignore[abstract] # it has what inference calls
    add_ModelRegistryServiceServicer_to_server(registry, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with open_channel(f"127.0.0.1:{port}", name="trainer") as channel:
        yield Shop(channel, registry)
    await server.stop(None)


async def test_a_shared_model_is_known_by_its_owner(shop: Shop) -> None:
    shop.share(NAME)

    found = await shop.resolve(f"{NAME}@1")

    assert (found.id, found.owner) == (f"{NAME}@1", "globex")


@pytest.mark.parametrize("known", [False, True])
async def test_what_is_not_or_no_longer_shared_is_refused_at_its_next_use(shop: Shop, *, known: bool) -> None:
    if known:
        shop.share(NAME)
        await shop.resolve(f"{NAME}@1")
        shop.share(NAME, seq=2, revoked=True)

    with pytest.raises(ReferenceNotFound) as refused:
        await shop.resolve(f"{NAME}@1")
    with pytest.raises(ReferenceNotFound) as absent:
        await shop.resolve("globex/none@1")

    assert str(refused.value) == str(absent.value).replace("globex/none@1", f"{NAME}@1")


async def test_what_its_owner_deletes_serves_no_more(shop: Shop) -> None:
    shop.share(NAME)
    await shop.resolve(f"{NAME}@1")
    del shop.registry.versions["", f"{NAME}@1"]

    with pytest.raises(ReferenceNotFound):
        await shop.resolve(f"{NAME}@1")


async def test_a_shared_adapter_brings_its_base_which_is_shared_for_nothing_else(shop: Shop) -> None:
    shop.share("globex/tuned")

    found = await shop.resolve("globex/tuned@1")

    assert found.base is not None
    assert (found.base.id, found.base.owner) == (f"{NAME}@1", "globex")
    with pytest.raises(ReferenceNotFound):
        await shop.resolve(f"{NAME}@1")


async def test_an_adapter_of_one_s_own_serves_as_long_as_its_base_is_shared(shop: Shop) -> None:
    shop.share(NAME)
    found = await shop.resolve("mine@1")
    assert found.base is not None
    assert (found.owner, found.base.owner) == ("", "globex")

    shop.share(NAME, seq=2, revoked=True)

    with pytest.raises(ModelNotShared):
        await shop.resolve("mine@1")


async def test_a_remote_model_is_called_with_keys_of_its_own_project_only(shop: Shop) -> None:
    shop.share("globex/gpt")

    with pytest.raises(ModelRefused, match="of your own"):
        await shop.resolve("globex/gpt@1")


class Cache:
    """Says whose folder is asked for."""

    async def fetch(self, project: str, *_: object) -> str:
        return project


@pytest.mark.parametrize(("owner", "folder"), [("globex", "globex"), ("", "acme")])
async def test_files_are_read_from_their_owner(owner: str, folder: str) -> None:
    files = ModelFiles(Cache())  # type: ignore[arg-type] # it answers what is asked of it
    weights = {"model.safetensors": ObjectRef(bucket="b", key="k", size=1, sha256="0" * 64)}

    assert str(await files.fetch("acme", ModelVersion(id="m@1", digest="d", files=weights, owner=owner))) == folder


async def test_a_deployment_keeps_whose_model_it_uses(shop: Shop) -> None:
    harness = AnsweringHarness()
    resolve = ResolveConfiguration(
        prompts=harness.prompts, models=shop.models, retriever=harness.rag, candidates=Registered()
    )
    spec = DeploymentSpec(model=NAME, prompt="answer", fallback=("mine",))
    with pytest.raises(ReferenceNotFound):
        await resolve(ADA, spec)

    shop.share(NAME)

    found = await resolve(ADA, spec)
    assert (found.model, found.fallback) == (f"{NAME}@1", ("mine@1",))


class Revoked:
    """Another project's models are shared no more."""

    def __init__(self, models: Models) -> None:
        self._models = models

    async def resolve(self, caller: Caller, reference: str, *, field: str) -> ModelVersion:
        if "/" in reference:
            raise ReferenceNotFound(reference, field=field, known=[])
        return await self._models.resolve(caller, reference, field=field)


@pytest.mark.parametrize("fallback", [(), ("smollm2@1",)])
async def test_questions_to_a_model_that_is_shared_no_more_get_its_name_or_the_next_model(
    fallback: tuple[str, ...],
) -> None:
    deployment = helpdesk()
    live = deployment.live.with_answer(model=f"{NAME}@1", fallback=fallback)
    harness = AnsweringHarness(deployment=replace(deployment, live=live))
    make = harness.answer.make
    answer = replace(harness.answer, make=replace(make, models=Revoked(make.models)))

    if not fallback:
        with pytest.raises(ModelNotShared, match=NAME):
            await answer.whole(ADA, question(), request=asking("r1"))
        return
    answered = await answer.whole(ADA, question(), request=asking("r1"))

    assert answered.state is State.COMPLETED
    assert answered.warnings[0] == f"fallback used: {NAME}@1 failed (MODEL_NOT_SHARED)"
