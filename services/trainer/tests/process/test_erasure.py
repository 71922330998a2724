"""A deleted project leaves nothing in collections, bucket and folders, wherever the process is killed."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.trainer.tests.process.trainer_process import TrainerProcess
from services.trainer.tests.registry.fakes import manifest_of, model_files, safetensors
from services.trainer.tests.registry.hub_server import HubServer
from services.trainer.tests.training.fakes import dataset_version, plan_settings, request
from tidemill.trainer.v1 import model_pb2 as pb
from tidemill.trainer.v1 import model_registry_service_pb2 as rpc
from tidemill.trainer.v1.model_registry_service_pb2_grpc import ModelRegistryServiceStub
from tidemill_core.errors import Conflict
from tidemill_kit.erasure.steps import Scope
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.mongo import Database, connect
from tidemill_kit.store.objects import ObjectStore
from tidemill_local import Addresses
from tidemill_testkit.access import admin_channel
from tidemill_testkit.clocks import NOON
from tidemill_testkit.erasing import (
    collections_with,
    counts_of,
    erasing_settings,
    files_with,
    keys_of,
    reports_of,
    request_erasure,
)
from tidemill_testkit.polling import eventually
from tidemill_testkit.stack import unique_name
from tidemill_trainer.errors import TrainingPlanNotFound, TrainingRunNotFound
from tidemill_trainer.training.domain.plan import TrainingPlan
from tidemill_trainer.training.domain.run import TrainingRun
from tidemill_trainer.training.mongo import PLANS, RUNS

CANARY = "canary-7f3a"
COMMIT, REPOSITORY = "c" * 40, "org/model"


class ErasingTrainer(TrainerProcess):
    """Erases without waiting for long."""

    def _settings(self) -> dict[str, str]:
        return super()._settings() | erasing_settings() | {"HUGGING_FACE_TIMEOUT_S": "2"}


@dataclass(kw_only=True)
class Harness:
    """The process and its stores."""

    process: ErasingTrainer
    stack: Addresses
    database: Database
    store: ObjectStore

    async def fill(self, project: str) -> None:
        """Have the project store something of every kind; a run waits for its dataset, and is tried again and again."""
        files = model_files(**{f"{CANARY}__md": CANARY.encode()})
        async with admin_channel(f"127.0.0.1:{self.process.port}", project=project) as channel:
            stub = ModelRegistryServiceStub(channel)
            source = pb.ModelSource(folder=pb.FolderSource(files=_files(files)))
            asked = rpc.ImportModelRequest(model="smollm2", source=source, labels={"team": CANARY})
            version = (await stub.ImportModel(asked)).version
            for path, content in files.items():
                await stub.UploadModelFile(_messages(version.id, path, content))
            await stub.CompleteModelVersion(rpc.CompleteModelVersionRequest(id=version.id))
        plan = TrainingPlan(id="lora", project=project, labels={"team": CANARY}, settings=plan_settings())
        plans = MongoAggregates(
            self.database["training_plans"], codec=PLANS, topic="", source="/t", missing=TrainingPlanNotFound
        )
        await plans.add(plan, request=request())
        runs = MongoAggregates(
            self.database["training_runs"],
            codec=RUNS,
            topic="tidemill.trainer.run.v1",
            source="/t",
            missing=TrainingRunNotFound,
        )
        for number in (1, 2):
            version_of = dataset_version(number, project=project)
            run = TrainingRun.queue(run=f"r{number}", plan=plan, dataset=version_of, base="smollm2@1", now=NOON)
            await runs.add(run, request=request())
        for folder in ("runs", "bases", "downloads"):
            inside = self.process.data_dir / folder / project / "r1"
            await asyncio.to_thread(inside.mkdir, parents=True, exist_ok=True)
            await asyncio.to_thread((inside / "train.jsonl").write_text, CANARY, encoding="utf-8")

    async def left(self, *words: str) -> list[str]:
        """Return where something is left of a project, or with a word."""
        project = words[0]
        return [
            *await collections_with(self.database, f'"{project}', *words[1:]),
            *await keys_of(self.store, self.process.bucket, project),
            *await asyncio.to_thread(files_with, self.process.data_dir, *words),
        ]

    async def kept(self, project: str) -> set[str]:
        """Return what stays of a project that nothing is done with.

        Its runs' folders are cleaned at each start, and a base that is being fetched gets its name at the end.
        """
        return {each for each in await self.left(project) if not each.startswith("runs/") and ".partial" not in each}


@pytest.fixture
async def harness(stack: Addresses, tmp_path: Path) -> AsyncIterator[Harness]:
    process = ErasingTrainer(stack=stack, folder=tmp_path)
    client = connect(stack.mongo, timeout_s=10)
    store = ObjectStore(stack.s3.endpoint, stack.s3.access_key, stack.s3.secret_key, secure=False)
    yield Harness(process=process, stack=stack, database=client[process.database], store=store)
    await asyncio.to_thread(process.stop)
    await client.drop_database(process.database)
    client.close()
    await store.delete_prefix(process.bucket, "")


async def test_a_deleted_project_leaves_nothing_although_the_process_is_killed_in_between(
    harness: Harness, stack: Addresses
) -> None:
    files = model_files(model__safetensors=safetensors(400_000))
    with HubServer() as hub:
        hub.publish(REPOSITORY, COMMIT, files)
        hub.stalls_after["model.safetensors"] = 100_000
        harness.process.hub = hub.endpoint
        await asyncio.to_thread(harness.process.start)
        project, other = unique_name("acme"), unique_name("globex")
        await harness.fill(project)
        await harness.fill(other)
        await _import(harness, project)
        await eventually(lambda: _is_stalled(harness))
        others = await harness.kept(other)
        erasure = await request_erasure(stack, project, Scope.PROJECT)
        await eventually(lambda: _counted(harness, project, erasure))  # in the middle: an import is at work
        await asyncio.to_thread(harness.process.kill)
        assert await harness.left(project, CANARY)
        await asyncio.to_thread(harness.process.start)
        await eventually(lambda: _reported(stack, project), despite=(Conflict,))

    (report,) = await reports_of("trainer", stack, project)
    counts = counts_of(report)
    assert (counts["training plans"], counts["training runs"]) == (1, 2)
    assert {"model versions", "models", "model files", "local copies of models", "downloads"} <= counts.keys()
    assert await harness.left(project) == []
    assert others <= await harness.kept(other)  # whose runs go on


def _files(files: dict[str, bytes]) -> list[pb.ManifestFile]:
    return [pb.ManifestFile(path=file.path, size=file.size, sha256=file.sha256) for file in manifest_of(files).files]


async def _messages(version: str, path: str, content: bytes) -> AsyncIterator[rpc.UploadModelFileRequest]:
    yield rpc.UploadModelFileRequest(start=rpc.UploadModelFileStart(version=version, path=path))
    yield rpc.UploadModelFileRequest(chunk=content)


async def _import(harness: Harness, project: str) -> None:
    source = pb.ModelSource(hugging_face=pb.HuggingFaceSource(repository=REPOSITORY))
    async with admin_channel(f"127.0.0.1:{harness.process.port}", project=project) as channel:
        await ModelRegistryServiceStub(channel).ImportModel(rpc.ImportModelRequest(model="hub", source=source))


async def _is_stalled(harness: Harness) -> bool:
    parts = (harness.process.data_dir / "downloads").rglob("*.part")
    return any(part.stat().st_size == 100_000 for part in parts)


async def _counted(harness: Harness, project: str, erasure: str) -> bool:
    row = await harness.database["erasures"].find_one({"_id": f"{project}/{erasure}"})
    return row is not None and any(each["kind"] == "training runs" for each in row["state"]["counts"])


async def _reported(stack: Addresses, project: str) -> bool:
    return bool(await reports_of("trainer", stack, project))
