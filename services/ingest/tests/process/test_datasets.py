"""From a completed curation to a published version, on Kafka, MongoDB and S3."""

import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from google.protobuf.field_mask_pb2 import FieldMask

from services.ingest.tests.datasets.examples import batch_of, completed, ids_in, lines, numbered
from services.ingest.tests.process.harness import IngestProcess
from tidemill.feedback.v1.curation_pb2 import Example as ExampleMessage
from tidemill.ingest.v1 import dataset_service_pb2 as pb
from tidemill.ingest.v1.dataset_pb2 import (
    DATASET_SPLIT_HELD_OUT,
    DATASET_SPLIT_TRAIN,
    ApprovalPolicy,
    Dataset,
    DatasetSplit,
)
from tidemill.ingest.v1.dataset_service_pb2_grpc import DatasetServiceStub
from tidemill_kit.store.objects import ObjectStore
from tidemill_testkit.access import admin_channel
from tidemill_testkit.polling import eventually
from tidemill_testkit.stack import unique_name

EVENTS = "tidemill.ingest.dataset.v1"
DEAD = "tidemill.ingest.curations.dead.v1"
ID = "helpdesk_sft"


@dataclass(kw_only=True)
class Curated:
    """One project with a dataset, feedback as ingest sees it, and what others can receive."""

    name: str
    ingest: IngestProcess
    store: ObjectStore
    producer: AIOKafkaProducer
    consumer: AIOKafkaConsumer
    received: dict[str, list[ConsumerRecord]] = field(default_factory=lambda: {EVENTS: [], DEAD: []})

    async def complete(self, examples: list[ExampleMessage], *, seq: int = 1, dataset: str = ID) -> dict[str, Any]:
        """Do what feedback does: put the batch, then publish it; return the body of the event."""
        data = lines(examples)
        batch = batch_of(data, count=len(examples), project=self.name, bucket=self.ingest.feedback)
        await self.store.put(batch.object.bucket, batch.object.key, data, media_type="application/jsonl")
        body = completed(batch, seq=seq, dataset=dataset)
        await self.report(body, event_id=f"{self.name}-{seq}")
        return body

    async def report(self, body: Mapping[str, Any] | bytes, *, event_id: str) -> None:
        attributes = {
            "ce_specversion": "1.0",
            "ce_id": event_id,
            "ce_source": "/tidemill/feedback",
            "ce_type": "tidemill.feedback.curation.completed.v1",
            "ce_subject": ID,
            "ce_project": self.name,
            "content-type": "application/json",
        }
        await self.producer.send_and_wait(
            self.ingest.curations,
            body if isinstance(body, bytes) else json.dumps(body).encode(),
            key=f"{self.name}/{ID}".encode(),
            headers=[(name, text.encode()) for name, text in attributes.items()],
        )

    async def reported(self, count: int, *, topic: str = EVENTS) -> list[ConsumerRecord]:
        """Return the records of this project, once there are so many; those that are delivered again count once."""

        async def are_there() -> bool:
            for partition, records in (await self.consumer.getmany(timeout_ms=100)).items():
                known = {dict(each.headers).get("ce_id") for each in self.received[partition.topic]}
                for each in records:
                    headers = dict(each.headers)
                    if headers.get("ce_project") == self.name.encode() and headers.get("ce_id") not in known:
                        known.add(headers.get("ce_id"))
                        self.received[partition.topic].append(each)
            return len(self.received[topic]) >= count

        await eventually(are_there)
        return self.received[topic]

    async def happened(self, count: int) -> list[tuple[str, dict[str, Any]]]:
        records = await self.reported(count)
        return [(dict(each.headers)["ce_type"].decode().split(".")[3], json.loads(each.value)) for each in records]


@pytest.fixture
async def curated(ingest: IngestProcess) -> AsyncIterator[Curated]:
    s3 = ingest.stack.s3
    store = ObjectStore(s3.endpoint, s3.access_key, s3.secret_key, secure=False)
    await store.ensure_bucket(ingest.feedback)
    producer = AIOKafkaProducer(bootstrap_servers=ingest.stack.kafka, acks="all")
    consumer = AIOKafkaConsumer(EVENTS, DEAD, bootstrap_servers=ingest.stack.kafka)
    await producer.start()
    await consumer.start()
    await consumer.seek_to_end()
    project = Curated(name=unique_name("acme"), ingest=ingest, store=store, producer=producer, consumer=consumer)
    async with admin_channel(f"127.0.0.1:{ingest.port}", project=project.name, timeout_s=60) as channel:
        await DatasetServiceStub(channel).CreateDataset(pb.CreateDatasetRequest(dataset=Dataset(id=ID)))
    yield project
    await consumer.stop()
    await producer.stop()


async def exported(curated: Curated, version: str, part: DatasetSplit.ValueType) -> list[str]:
    async with admin_channel(f"127.0.0.1:{curated.ingest.port}", project=curated.name, timeout_s=60) as channel:
        request = pb.ExportDatasetVersionRequest(id=version, part=part)
        return ids_in(
            b"".join([each.chunk async for each in DatasetServiceStub(channel).ExportDatasetVersion(request)])
        )


async def test_a_completed_curation_becomes_a_version_within_seconds(curated: Curated) -> None:
    began = time.monotonic()
    await curated.complete(numbered(180))
    [(happened, event)] = await curated.happened(1)
    took = time.monotonic() - began

    assert took < 10
    assert happened == "version_published"
    assert (event["version"], event["seq"], event["deployment"]) == ("helpdesk_sft@1", "1", "helpdesk")
    assert (event["train"]["examples"], event["held_out"]["examples"]) == (126, 54)
    assert event["train"]["bucket"] == curated.ingest.datasets
    held_out = await exported(curated, event["version"], DATASET_SPLIT_HELD_OUT)
    train = await exported(curated, event["version"], DATASET_SPLIT_TRAIN)
    assert sorted([*held_out, *train]) == sorted(each.id for each in numbered(180))
    assert b"module.name1" not in b"".join(each.value for each in curated.received[EVENTS])


async def test_duplicates_have_one_effect_and_poison_delays_no_other(curated: Curated) -> None:
    body = await curated.complete(numbered(40))
    await curated.report(body, event_id=f"{curated.name}-1")
    await curated.report(b"{broken", event_id="poison")
    await curated.report({**body, "seq": "2", "batch": {**body["batch"], "bucket": "elsewhere"}}, event_id="elsewhere")
    await curated.report({**body, "seq": "2", "dataset": "another's"}, event_id="unowned")
    await curated.complete(numbered(2), seq=3)
    await curated.complete(numbered(60), seq=4)

    happened = sorted(await curated.happened(4), key=lambda reported: reported[1]["curation_seq"])
    dead = await curated.reported(3, topic=DEAD)

    assert [(name, event["curation_seq"]) for name, event in happened] == [
        ("version_published", "1"),
        ("version_withheld", "2"),
        ("version_withheld", "3"),
        ("version_published", "4"),
    ]
    assert [event["reason"] for _, event in happened[1:3]] == ["BATCH_REFUSED", "TOO_FEW_EXAMPLES"]
    assert {dict(each.headers)["ce_id"].decode() for each in dead} == {"poison", "elsewhere", "unowned"}
    assert set(await exported(curated, "helpdesk_sft@1", DATASET_SPLIT_HELD_OUT)) < set(
        await exported(curated, "helpdesk_sft@2", DATASET_SPLIT_HELD_OUT)
    )


async def test_a_kill_while_versions_are_made_loses_none_and_doubles_none(curated: Curated) -> None:
    for seq in range(1, 6):
        await curated.complete(numbered(20 * seq), seq=seq)
    await curated.reported(1)

    curated.ingest.kill()
    curated.ingest.start()

    # An event that was published right before the kill may be published again, unchanged.
    reported: dict[str, set[str]] = {}

    async def are_all_reported() -> bool:
        for _, event in await curated.happened(0):
            reported.setdefault(event["seq"], set()).add(event["version"])
        return len(reported) == 5

    await eventually(are_all_reported)
    assert reported == {str(number): {f"helpdesk_sft@{number}"} for number in range(1, 6)}
    assert len(await exported(curated, "helpdesk_sft@5", DATASET_SPLIT_HELD_OUT)) == 30


async def test_a_kill_after_the_last_approval_loses_no_event(curated: Curated) -> None:
    async with admin_channel(f"127.0.0.1:{curated.ingest.port}", project=curated.name, timeout_s=60) as channel:
        dataset = Dataset(id=ID, approval=ApprovalPolicy(count=1))
        update = pb.UpdateDatasetRequest(dataset=dataset, update_mask=FieldMask(paths=["approval"]))
        await DatasetServiceStub(channel).UpdateDataset(update)
    await curated.complete(numbered(40))
    [(_, event)] = await curated.happened(1)
    assert event["missing_approvals"] == 1

    async with admin_channel(f"127.0.0.1:{curated.ingest.port}", project=curated.name, timeout_s=60) as channel:
        await DatasetServiceStub(channel).ApproveDatasetVersion(pb.ApproveDatasetVersionRequest(id=f"{ID}@1"))
        curated.ingest.kill()
    curated.ingest.start()

    name, approved = (await curated.happened(2))[1]
    assert (name, approved["version"], approved["seq"]) == ("version_approved", "helpdesk_sft@1", "2")
    assert approved["train"] == event["train"]
