import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from services.trainer.tests.registry.fakes import ADA
from services.trainer.tests.training.fakes import dataset_version
from tidemill.ingest.v1 import dataset_pb2
from tidemill.ingest.v1.dataset_service_pb2_grpc import add_DatasetServiceServicer_to_server
from tidemill_core.errors import PermissionDenied, PreconditionFailed
from tidemill_kit.access.grants import Grants, Shared
from tidemill_kit.access.revocations import Revocations
from tidemill_kit.store.objects import ExchangeBucket, ObjectMissing
from tidemill_testkit.access import grant, service_channel
from tidemill_testkit.objects import InMemoryObjects
from tidemill_testkit.stubs.ingest import StubDatasets
from tidemill_trainer.errors import DatasetVersionNotFound
from tidemill_trainer.training.domain.plan import DatasetVersion
from tidemill_trainer.training.ingest_datasets import IngestDatasets


@pytest.fixture
async def datasets() -> AsyncIterator[IngestDatasets]:
    stub, server = StubDatasets(), grpc.aio.server()  # type: ignore[abstract] # it has what trainer calls
    for number in (1, 2):
        train = dataset_version(number).train
        part = dataset_pb2.DatasetPart(
            bucket=train.bucket, key=train.key, size=train.size, sha256=train.sha256, examples=100
        )
        stub.add(dataset_pb2.DatasetVersion(id=f"sft@{number}", train=part), project="acme")
    approval = dataset_pb2.ApprovalPolicy(role="reviewer", count=3)
    waiting = dataset_pb2.DatasetVersion(id="waiting@1", approval=approval, missing_approvals=2)
    stub.add(waiting, project="acme")
    add_DatasetServiceServicer_to_server(stub, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with service_channel("trainer", f"127.0.0.1:{port}", name="ingest") as channel:
        yield IngestDatasets(channel, {"datasets": ExchangeBucket(InMemoryObjects(), "datasets")})
    await server.stop(None)


async def test_a_version_is_found_by_its_number_or_as_the_newest(datasets: IngestDatasets) -> None:
    assert await datasets.version(ADA, "sft@1") == dataset_version(1)
    assert await datasets.version(ADA, "sft") == dataset_version(2)
    for missing in ("sft@3", "other"):
        with pytest.raises(DatasetVersionNotFound, match=missing):
            await datasets.version(ADA, missing)


async def test_a_version_that_people_have_to_approve_first_is_refused_by_name_number_and_role(
    datasets: IngestDatasets,
) -> None:
    with pytest.raises(PreconditionFailed, match="dataset waiting@1 lacks 2 approvals of the role reviewer") as refused:
        await datasets.version(ADA, "waiting")
    assert refused.value.reason == "APPROVAL_MISSING"


async def test_a_train_split_elsewhere_is_not_read(datasets: IngestDatasets) -> None:
    with pytest.raises(PermissionDenied, match="outside its project"):
        datasets.check("acme", dataset_version(project="other"))
    elsewhere = IngestDatasets(grpc.aio.insecure_channel("127.0.0.1:1"), {})
    with pytest.raises(PermissionDenied, match="TRAINER_DATASET_BUCKETS"):
        elsewhere.check("acme", dataset_version())


async def test_a_train_split_of_another_project_is_read_as_long_as_its_dataset_is_shared() -> None:
    grants = Grants(Revocations())
    shared = IngestDatasets(
        grpc.aio.insecure_channel("127.0.0.1:1"),
        {"datasets": ExchangeBucket(InMemoryObjects(), "datasets")},
        shared=lambda project, name: grants.resolve(project, Shared.DATASET, name),
    )
    version = replace(dataset_version(project="globex"), id="globex/sft@1")
    with pytest.raises(DatasetVersionNotFound, match="globex/sft@1"):
        shared.check("acme", version)

    grants.apply(grant("globex/sft", Shared.DATASET, to="acme"))

    shared.check("acme", version)
    with pytest.raises(PermissionDenied, match="outside its project"):
        shared.check("acme", replace(version, train=dataset_version(project="initech").train))


async def test_what_is_left_of_a_version_is_read_where_examples_of_it_were_erased_since(
    tmp_path: Path,
) -> None:
    stub, server, objects = StubDatasets(), grpc.aio.server(), InMemoryObjects("datasets")  # type: ignore[abstract]
    bucket = ExchangeBucket(objects, "datasets")
    queued = DatasetVersion(
        id="sft@1", train=await bucket.put("acme", "sft", b"1\n2\n", media_type="text/plain"), examples=2
    )
    left = replace(queued, train=await bucket.put("acme", "sft", b"2\n", media_type="text/plain"), examples=1)
    add_DatasetServiceServicer_to_server(stub, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with service_channel("trainer", f"127.0.0.1:{port}", name="ingest") as channel:
        datasets, target = IngestDatasets(channel, {"datasets": bucket}), tmp_path / "train.jsonl"
        stub.add(_message(queued), project="acme")
        assert await datasets.fetch("acme", queued, target) == queued

        await objects.delete("datasets", queued.train.key)
        with pytest.raises(ObjectMissing):
            await datasets.fetch("acme", queued, target)

        stub.add(_message(left), project="acme")
        assert await datasets.fetch("acme", queued, target) == left
        assert await asyncio.to_thread(target.read_bytes) == b"2\n"

        with pytest.raises(DatasetVersionNotFound):
            await datasets.fetch("acme", replace(queued, id="sft@7"), target)
    await server.stop(None)


async def test_the_held_out_split_is_read_as_it_is_now_and_only_where_there_is_one(tmp_path: Path) -> None:
    stub, server, objects = StubDatasets(), grpc.aio.server(), InMemoryObjects("datasets")  # type: ignore[abstract]
    bucket = ExchangeBucket(objects, "datasets")
    add_DatasetServiceServicer_to_server(stub, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with service_channel("trainer", f"127.0.0.1:{port}", name="ingest") as channel:
        datasets, target = IngestDatasets(channel, {"datasets": bucket}), tmp_path / "held_out.jsonl"
        stub.add(dataset_pb2.DatasetVersion(id="sft@1"), project="acme")
        assert not await datasets.fetch_held_out("acme", "sft@1", target)

        held_out = dataset_pb2.DatasetPart()
        for content in (b"1\n2\n", b"2\n"):
            part = await bucket.put("acme", "sft", content, media_type="text/plain")
            held_out = dataset_pb2.DatasetPart(
                bucket=part.bucket, key=part.key, size=part.size, sha256=part.sha256, examples=1
            )
            stub.add(dataset_pb2.DatasetVersion(id="sft@1", held_out=held_out), project="acme")
            assert await datasets.fetch_held_out("acme", "sft@1", target)
            assert await asyncio.to_thread(target.read_bytes) == content

        await objects.delete("datasets", held_out.key)
        with pytest.raises(ObjectMissing):
            await datasets.fetch_held_out("acme", "sft@1", target)
        held_out.key = "globex/sft/1"
        stub.add(dataset_pb2.DatasetVersion(id="sft@1", held_out=held_out), project="acme")
        with pytest.raises(PermissionDenied, match="held-out split of sft@1 is outside its project"):
            await datasets.fetch_held_out("acme", "sft@1", target)
    await server.stop(None)


def _message(version: DatasetVersion) -> dataset_pb2.DatasetVersion:
    train = version.train
    part = dataset_pb2.DatasetPart(
        bucket=train.bucket, key=train.key, size=train.size, sha256=train.sha256, examples=version.examples
    )
    return dataset_pb2.DatasetVersion(id=version.id, train=part)
