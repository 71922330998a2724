"""End to end through the public API: a real process and real servers."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from services.trainer.tests.process.trainer_process import TrainerProcess
from services.trainer.tests.registry.fakes import manifest_of, model_files, safetensors
from services.trainer.tests.registry.hub_server import HubServer
from tidemill.trainer.v1 import model_pb2 as pb
from tidemill.trainer.v1 import model_registry_service_pb2 as rpc
from tidemill.trainer.v1.model_registry_service_pb2_grpc import ModelRegistryServiceStub
from tidemill_kit.events.cloudevents import CloudEvent, from_record
from tidemill_kit.events.kafka import read_topic
from tidemill_kit.store.mongo import connect
from tidemill_kit.store.objects import ObjectStore
from tidemill_local import Addresses
from tidemill_testkit.access import admin_channel
from tidemill_testkit.clocks import NOON
from tidemill_testkit.crash_suite import outlives_a_kill
from tidemill_testkit.polling import eventually
from tidemill_testkit.stack import unique_name

COMMIT = "c" * 40
REPOSITORY = "org/model"
MACHINE_LEARNING = ("torch", "numpy", "tokenizers")
"""Those with compiled modules; transformers imports numpy and tokenizers."""


@pytest.fixture
async def trainer(stack: Addresses, tmp_path: Path) -> AsyncIterator[TrainerProcess]:
    process = TrainerProcess(stack=stack, folder=tmp_path)
    yield process
    await asyncio.to_thread(process.stop)
    client = connect(stack.mongo, timeout_s=10)
    await client.drop_database(process.database)
    client.close()
    store = ObjectStore(stack.s3.endpoint, stack.s3.access_key, stack.s3.secret_key, secure=False)
    await store.delete_prefix(process.bucket, "")


async def published(stack: Addresses, project: str) -> list[CloudEvent]:
    records = [record async for record in read_topic(stack.kafka, "tidemill.trainer.model.v1")]
    ours = [record for record in records if (record.key or b"").startswith(f"{project}/".encode())]
    return [from_record(record.value, record.headers, arrive_time=NOON) for record in ours]


async def test_a_folder_goes_through_the_api_to_the_bucket_and_the_topic(
    trainer: TrainerProcess, stack: Addresses
) -> None:
    await asyncio.to_thread(trainer.start)
    assert _mapped(trainer.pid, *MACHINE_LEARNING) == set()  # a registry needs none in memory
    project, files = unique_name("acme"), model_files()
    async with admin_channel(f"127.0.0.1:{trainer.port}", project=project) as channel:
        ready = await _register(ModelRegistryServiceStub(channel), "smollm2", files)

    store = ObjectStore(stack.s3.endpoint, stack.s3.access_key, stack.s3.secret_key, secure=False)
    assert [await store.get(a.bucket, a.key) for a in ready.artifacts] == [files[a.path] for a in ready.artifacts]
    assert ready.state == pb.MODEL_VERSION_STATE_READY
    await eventually(lambda: _has_events(stack, project, 1))
    (event,) = await published(stack, project)
    assert (event.type, event.subject, event.source, event.seq) == (
        "tidemill.trainer.model.version_registered.v1",
        "smollm2@1",
        "/tidemill/trainer",
        1,
    )
    assert json.loads(event.data)["digest"] == ready.digest
    assert list((trainer.data_dir / "uploads").iterdir()) == []
    assert await asyncio.to_thread(trainer.stop) == 0


def test_machine_learning_libraries_in_memory_are_found() -> None:
    import numpy as np  # noqa: PLC0415 - most tests of this folder do without

    assert np.__name__ in _mapped(os.getpid(), *MACHINE_LEARNING)


def _mapped(pid: int, *packages: str) -> set[str]:
    """Return which of these packages a process has compiled modules of in memory."""
    files = [Path(each.path).parts for each in psutil.Process(pid).memory_maps()]
    return {package for package in packages if any(package in parts for parts in files)}


async def test_a_kill_in_the_middle_of_a_download_costs_nothing_but_time(
    trainer: TrainerProcess, stack: Addresses
) -> None:
    files = model_files(model__safetensors=safetensors(1_000_000), big__safetensors=safetensors(2_000_000))
    with HubServer() as hub:
        hub.publish(REPOSITORY, COMMIT, files)
        hub.stalls_after["model.safetensors"] = 1_500_000
        trainer.hub = hub.endpoint
        await asyncio.to_thread(trainer.start)
        project = unique_name("acme")
        source = pb.ModelSource(hugging_face=pb.HuggingFaceSource(repository=REPOSITORY))
        async with admin_channel(f"127.0.0.1:{trainer.port}", project=project) as channel:
            stub = ModelRegistryServiceStub(channel)
            begun = (await stub.ImportModel(rpc.ImportModelRequest(model="m", source=source))).version
        assert begun.state == pb.MODEL_VERSION_STATE_IMPORTING
        await eventually(lambda: _is_stalled(trainer, 1_500_000))
        await asyncio.to_thread(trainer.kill)
        await asyncio.to_thread(trainer.start)

        async with admin_channel(f"127.0.0.1:{trainer.port}", project=project) as channel:
            stub = ModelRegistryServiceStub(channel)
            await eventually(lambda: _is_ready(stub))
            ready = (await stub.GetModelVersion(rpc.GetModelVersionRequest(id="m"))).version

    assert ready.source.hugging_face.revision == COMMIT
    assert ready.stored_bytes == ready.total_bytes == sum(map(len, files.values()))
    assert hub.requests == [
        "config.json",
        "model.safetensors",
        "model.safetensors bytes=1500000-",
        "big.safetensors",
    ]
    await eventually(lambda: _has_events(stack, project, 1))
    assert [event.seq for event in await published(stack, project)] == [1]
    assert list((trainer.data_dir / "downloads").rglob("*.part")) == []


@dataclass(frozen=True)
class Models:
    """Models that users register from folders."""

    process: TrainerProcess
    project: str
    topics: Sequence[str] = ("tidemill.trainer.model.v1",)

    async def send(self, piece: str) -> None:
        async with admin_channel(f"127.0.0.1:{self.process.port}", project=self.project) as channel:
            await _register(ModelRegistryServiceStub(channel), piece, model_files())

    async def done(self) -> Sequence[str]:
        async with admin_channel(f"127.0.0.1:{self.process.port}", project=self.project) as channel:
            stub = ModelRegistryServiceStub(channel)
            models = (await stub.ListModels(rpc.ListModelsRequest())).models
            versions = [
                version
                for model in models
                for version in (await stub.ListModelVersions(rpc.ListModelVersionsRequest(model=model.id))).versions
            ]
        return [each.model for each in versions if each.state == pb.MODEL_VERSION_STATE_READY]


async def test_each_model_is_registered_once_whenever_the_process_is_killed(trainer: TrainerProcess) -> None:
    await asyncio.to_thread(trainer.start)
    await outlives_a_kill(Models(trainer, unique_name("acme")))


async def _register(stub: ModelRegistryServiceStub, model: str, files: Mapping[str, bytes]) -> pb.ModelVersion:
    manifest = [pb.ManifestFile(path=f.path, size=f.size, sha256=f.sha256) for f in manifest_of(files).files]
    source = pb.ModelSource(folder=pb.FolderSource(files=manifest))
    begun = (await stub.ImportModel(rpc.ImportModelRequest(model=model, source=source, request_id=model))).version
    if begun.state == pb.MODEL_VERSION_STATE_READY:
        return begun
    for path, content in files.items():
        await stub.UploadModelFile(_messages(begun.id, path, content))
    return (await stub.CompleteModelVersion(rpc.CompleteModelVersionRequest(id=begun.id))).version


async def _messages(version: str, path: str, content: bytes) -> AsyncIterator[rpc.UploadModelFileRequest]:
    yield rpc.UploadModelFileRequest(start=rpc.UploadModelFileStart(version=version, path=path))
    yield rpc.UploadModelFileRequest(chunk=content)


async def _has_events(stack: Addresses, project: str, count: int) -> bool:
    return len(await published(stack, project)) == count


async def _is_stalled(trainer: TrainerProcess, size: int) -> bool:
    return any(part.stat().st_size == size for part in (trainer.data_dir / "downloads").rglob("*.part"))


async def _is_ready(stub: ModelRegistryServiceStub) -> bool:
    versions = (await stub.ListModelVersions(rpc.ListModelVersionsRequest(model="m"))).versions
    return [version.state for version in versions] == [pb.MODEL_VERSION_STATE_READY]
