"""A training from plan to registered adapter, by a real process that is killed midway, on a weaker processor."""

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import psutil
import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct
from safetensors.torch import load

from services.trainer.tests.learning.tiny import example_lines, write_base
from services.trainer.tests.process.trainer_process import TrainerProcess
from tidemill.ingest.v1 import dataset_pb2
from tidemill.ingest.v1.dataset_service_pb2_grpc import add_DatasetServiceServicer_to_server
from tidemill.trainer.v1 import model_pb2, training_pb2
from tidemill.trainer.v1 import model_registry_service_pb2 as registry_rpc
from tidemill.trainer.v1 import training_service_pb2 as rpc
from tidemill.trainer.v1.derivation_pb2 import Derivation, Quantize
from tidemill.trainer.v1.derivation_service_pb2 import CreateDerivationRequest, GetDerivationRequest
from tidemill.trainer.v1.derivation_service_pb2_grpc import DerivationServiceStub
from tidemill.trainer.v1.model_registry_service_pb2_grpc import ModelRegistryServiceStub
from tidemill.trainer.v1.training_service_pb2_grpc import TrainingServiceStub
from tidemill_core.models.manifest import Manifest
from tidemill_kit.events.cloudevents import from_record
from tidemill_kit.events.kafka import read_topic
from tidemill_kit.store.mongo import connect
from tidemill_kit.store.objects import ObjectStore
from tidemill_local import Addresses
from tidemill_testkit.access import admin_channel
from tidemill_testkit.buckets import remove_bucket
from tidemill_testkit.clocks import NOON
from tidemill_testkit.polling import eventually
from tidemill_testkit.stubs.ingest import StubDatasets
from tidemill_testkit.weaker_processor import NO_MORE_THAN_AVX2, WEAKER

STEPS, GIVES_WAY = 120, 40
RUNNING, SUCCEEDED = training_pb2.TRAINING_RUN_STATE_RUNNING, training_pb2.TRAINING_RUN_STATE_SUCCEEDED


@pytest.fixture
async def trainer(stack: Addresses, tmp_path: Path) -> AsyncIterator[TrainerProcess]:
    process = TrainerProcess(stack=stack, folder=tmp_path, variables=WEAKER)
    store = ObjectStore(stack.s3.endpoint, stack.s3.access_key, stack.s3.secret_key, secure=False)
    await store.ensure_bucket(process.bucket)
    lines = example_lines()
    digest = hashlib.sha256(lines).hexdigest()
    await store.put(process.bucket, f"acme/sft/{digest}", lines, media_type="application/jsonl")
    part = dataset_pb2.DatasetPart(
        bucket=process.bucket, key=f"acme/sft/{digest}", size=len(lines), sha256=digest, examples=24
    )
    datasets = StubDatasets()  # type: ignore[abstract] # it has what trainer calls
    datasets.add(dataset_pb2.DatasetVersion(id="sft@1", train=part))
    ingest = grpc.aio.server()
    add_DatasetServiceServicer_to_server(datasets, ingest)
    port = ingest.add_insecure_port("127.0.0.1:0")
    await ingest.start()
    process.ingest = f"127.0.0.1:{port}"
    yield process
    await asyncio.to_thread(process.stop)
    await ingest.stop(1.0)
    client = connect(stack.mongo, timeout_s=10)
    await client.drop_database(process.database)
    client.close()
    await remove_bucket(stack, process.bucket)


@pytest.mark.timeout(300)
async def test_a_training_outlives_kills_and_registers_one_adapter(
    trainer: TrainerProcess, stack: Addresses, tmp_path: Path
) -> None:
    base = await asyncio.to_thread(write_base, tmp_path / "base")
    await asyncio.to_thread(trainer.start)
    await import_base(trainer, base)
    async with admin_channel(f"127.0.0.1:{trainer.port}", project="acme") as channel:
        queued = await _start(TrainingServiceStub(channel))
        await eventually(lambda: _is_at(trainer, queued, step=11))
    (child,) = psutil.Process(trainer.pid).children()

    await asyncio.to_thread(trainer.kill)
    await eventually(lambda: _is_gone(child))
    await asyncio.to_thread(trainer.start)

    await eventually(lambda: has_ended(trainer, queued))
    run = await run_of(trainer, queued)
    assert (run.state, run.reason, run.message) == (SUCCEEDED, "", "")
    assert (run.attempt, run.progress.step, len(run.progress.losses)) == (2, STEPS, STEPS)
    assert run.versions["dtype"] == "float32"
    assert run.versions["cpu_capability"] in NO_MORE_THAN_AVX2
    assert run.progress.loss == run.progress.losses[-1].loss < run.progress.losses[0].loss
    await _assert_registered(trainer, stack, run)
    await eventually(lambda: _is_empty(trainer.data_dir / "runs" / "acme"))
    await _assert_made_int8(trainer, run.model_version)


@pytest.mark.long
@pytest.mark.timeout(500)
async def test_a_training_gives_way_to_a_higher_one_and_goes_on_to_the_adapter_of_one_that_did_not(
    trainer: TrainerProcess, tmp_path: Path
) -> None:
    trainer.variables = {**trainer.variables, "TRAINER_RUN_PREEMPT_AFTER_S": "0"}
    base = await asyncio.to_thread(write_base, tmp_path / "base")
    await asyncio.to_thread(trainer.start)
    await import_base(trainer, base)
    async with admin_channel(f"127.0.0.1:{trainer.port}", project="acme") as channel:
        stub = TrainingServiceStub(channel)
        low = await _start(stub, steps=GIVES_WAY)
        await eventually(lambda: _is_at(trainer, low, step=11))
        high = await _start(stub, plan="urgent", steps=3, priority=5)
        await eventually(lambda: has_ended(trainer, high))
        first, gave_way = await run_of(trainer, high), await run_of(trainer, low)
        await eventually(lambda: has_ended(trainer, low))
        again = (await stub.StartTrainingRun(rpc.StartTrainingRunRequest(plan="lora"))).run.id
        await eventually(lambda: has_ended(trainer, again))
    interrupted, whole = await run_of(trainer, low), await run_of(trainer, again)

    assert (gave_way.preemptions, gave_way.progress.step < GIVES_WAY) == (1, True)
    states = [(run.state, run.attempt, run.preemptions) for run in (first, interrupted, whole)]
    assert states == [(SUCCEEDED, 1, 0), (SUCCEEDED, 2, 1), (SUCCEEDED, 1, 0)]
    assert first.finish_time.ToDatetime() < interrupted.finish_time.ToDatetime()
    assert interrupted.progress.losses == whole.progress.losses
    weights = [await _weights_of(trainer, run.model_version) for run in (interrupted, whole)]
    assert weights[0] == weights[1]


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_training_of_all_weights_outlives_kills_and_registers_a_model_of_its_own(
    trainer: TrainerProcess, tmp_path: Path
) -> None:
    base = await asyncio.to_thread(write_base, tmp_path / "base")
    await asyncio.to_thread(trainer.start)
    await import_base(trainer, base)
    async with admin_channel(f"127.0.0.1:{trainer.port}", project="acme") as channel:
        queued = await _start(TrainingServiceStub(channel), plan="whole", steps=GIVES_WAY, use_peft=False)
        await eventually(lambda: _is_at(trainer, queued, step=11))
    (child,) = psutil.Process(trainer.pid).children()

    await asyncio.to_thread(trainer.kill)
    await eventually(lambda: _is_gone(child))
    await asyncio.to_thread(trainer.start)

    await eventually(lambda: has_ended(trainer, queued))
    run = await run_of(trainer, queued)
    assert (run.state, run.reason, run.message) == (SUCCEEDED, "", "")
    assert (run.attempt, run.progress.step, len(run.progress.losses)) == (2, GIVES_WAY, GIVES_WAY)
    async with admin_channel(f"127.0.0.1:{trainer.port}", project="acme") as channel:
        stub = ModelRegistryServiceStub(channel)
        (version,) = (await stub.ListModelVersions(registry_rpc.ListModelVersionsRequest(model="whole"))).versions
        again = await _start(TrainingServiceStub(channel), plan="further", steps=2, base="whole")
        await eventually(lambda: has_ended(trainer, again))
    trained = version.source.trained
    assert (trained.run, trained.base, trained.finetuned_from) == (queued, "", "tiny@1")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {each.path for each in version.artifacts}
    further = await run_of(trainer, again)
    assert (further.state, further.base) == (SUCCEEDED, version.id)
    await _assert_made_int8(trainer, version.id)


async def _weights_of(trainer: TrainerProcess, version: str) -> str:
    """Return the digest of an adapter's weights."""
    async with admin_channel(f"127.0.0.1:{trainer.port}", project="acme") as channel:
        stub = ModelRegistryServiceStub(channel)
        found = (await stub.GetModelVersion(registry_rpc.GetModelVersionRequest(id=version))).version
    return next(each.sha256 for each in found.artifacts if each.path == "adapter_model.safetensors")


async def _assert_made_int8(trainer: TrainerProcess, adapter: str) -> None:
    """Check that a derivation makes a version of the adapter, whose weights are downloaded."""
    async with admin_channel(f"127.0.0.1:{trainer.port}", project="acme") as channel:
        derivations, registry = DerivationServiceStub(channel), ModelRegistryServiceStub(channel)
        asked = Derivation(source_version=adapter, model="small", quantize=Quantize(bits=8))
        created = await derivations.CreateDerivation(CreateDerivationRequest(derivation=asked))

        async def ended() -> bool:
            found = await derivations.GetDerivation(GetDerivationRequest(id=created.derivation.id))
            assert found.derivation.reason == "", found
            return found.derivation.model_version == "small@1"

        await eventually(ended)
        request = registry_rpc.DownloadModelFileRequest(version="small@1", path="model.safetensors")
        stored = b"".join([piece.chunk async for piece in registry.DownloadModelFile(request)])
    assert {str(tensor.dtype) for tensor in load(stored).values()} == {"torch.int8", "torch.bfloat16", "torch.float32"}


async def _is_empty(folder: Path) -> bool:
    return not await asyncio.to_thread(os.listdir, folder)


async def import_base(trainer: TrainerProcess, base: Path) -> None:
    manifest = Manifest.from_folder(base)
    files = [model_pb2.ManifestFile(path=f.path, size=f.size, sha256=f.sha256) for f in manifest.files]
    async with admin_channel(f"127.0.0.1:{trainer.port}", project="acme") as channel:
        stub = ModelRegistryServiceStub(channel)
        source = model_pb2.ModelSource(folder=model_pb2.FolderSource(files=files))
        begun = (await stub.ImportModel(registry_rpc.ImportModelRequest(model="tiny", source=source))).version
        for file in manifest.files:
            await stub.UploadModelFile(_messages(begun.id, file.path, (base / file.path).read_bytes()))
        await stub.CompleteModelVersion(registry_rpc.CompleteModelVersionRequest(id=begun.id))


async def _messages(version: str, path: str, content: bytes) -> AsyncIterator[registry_rpc.UploadModelFileRequest]:
    start = registry_rpc.UploadModelFileStart(version=version, path=path)
    yield registry_rpc.UploadModelFileRequest(start=start)
    yield registry_rpc.UploadModelFileRequest(chunk=content)


async def _start(  # noqa: PLR0913 - keyword-only, and each of another kind
    stub: TrainingServiceStub,
    *,
    plan: str = "lora",
    steps: int = STEPS,
    priority: int = 0,
    base: str = "tiny",
    use_peft: bool = True,
) -> str:
    args = {"max_steps": steps, "per_device_train_batch_size": 2, "learning_rate": 0.01, "max_length": 256}
    declared = training_pb2.TrainingPlan(
        id=plan,
        dataset="sft",
        base=base,
        method="sft",
        use_peft=use_peft,
        args=ParseDict(args, Struct()),
        priority=priority,
    )
    await stub.CreateTrainingPlan(rpc.CreateTrainingPlanRequest(plan=declared))
    return (await stub.StartTrainingRun(rpc.StartTrainingRunRequest(plan=plan))).run.id


async def run_of(trainer: TrainerProcess, run: str) -> training_pb2.TrainingRun:
    async with admin_channel(f"127.0.0.1:{trainer.port}", project="acme") as channel:
        return (await TrainingServiceStub(channel).GetTrainingRun(rpc.GetTrainingRunRequest(id=run))).run


async def _is_at(trainer: TrainerProcess, name: str, *, step: int) -> bool:
    run = await run_of(trainer, name)
    assert run.state in {training_pb2.TRAINING_RUN_STATE_QUEUED, RUNNING}, run
    return run.progress.step >= step


async def has_ended(trainer: TrainerProcess, name: str) -> bool:
    return (await run_of(trainer, name)).HasField("finish_time")


async def _is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


async def _assert_registered(trainer: TrainerProcess, stack: Addresses, run: training_pb2.TrainingRun) -> None:
    async with admin_channel(f"127.0.0.1:{trainer.port}", project="acme") as channel:
        stub = ModelRegistryServiceStub(channel)
        versions = (await stub.ListModelVersions(registry_rpc.ListModelVersionsRequest(model="lora"))).versions
    (version,) = versions
    assert (version.id, version.state) == (run.model_version, model_pb2.MODEL_VERSION_STATE_READY)
    assert (version.source.trained.run, version.source.trained.base) == (run.id, "tiny@1")
    store = ObjectStore(stack.s3.endpoint, stack.s3.access_key, stack.s3.secret_key, secure=False)
    stored = {artifact.path: await store.get(artifact.bucket, artifact.key) for artifact in version.artifacts}
    assert json.loads(stored["adapter_config.json"])["base_model_name_or_path"] == "tiny@1"
    assert b"Seed | 42" in stored["README.md"]
    await eventually(lambda: _is_reported(stack, run.id))


async def _is_reported(stack: Addresses, run: str) -> bool:
    records = [record async for record in read_topic(stack.kafka, "tidemill.trainer.run.v1")]
    ours = [record for record in records if record.key == f"acme/{run}".encode()]
    types = [from_record(record.value, record.headers, arrive_time=NOON).type for record in ours]
    return types == ["tidemill.trainer.run.queued.v1", "tidemill.trainer.run.succeeded.v1"]
