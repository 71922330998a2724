"""Monitor as a process on real servers, through its public APIs only."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from services.monitor.tests.story import Story
from tidemill.monitor.v1 import lineage_service_pb2 as pb
from tidemill.monitor.v1.lineage_service_pb2_grpc import LineageServiceStub
from tidemill_core.application import derived_id
from tidemill_core.errors import NotFound
from tidemill_core.grpc.client import open_channel
from tidemill_kit.events.cloudevents import CloudEvent, to_headers
from tidemill_kit.store.mongo import connect
from tidemill_kit.store.objects import ExchangeBucket, ObjectStore
from tidemill_local import Addresses
from tidemill_testkit.crash_suite import outlives_a_kill
from tidemill_testkit.service_process import ServiceProcess
from tidemill_testkit.stack import unique_name


@dataclass(kw_only=True)
class MonitorProcess(ServiceProcess):
    """Monitor as operators run it, on the stack's servers."""

    service = "monitor"

    def _settings(self) -> dict[str, str]:
        return {
            "FEEDBACK_BUCKET": self.database,
            "BATCH_POLL_INTERVAL_S": "0.5",
        }


@pytest.fixture
async def store(stack: Addresses) -> ObjectStore:
    return ObjectStore(stack.s3.endpoint, stack.s3.access_key, stack.s3.secret_key, secure=False)


@pytest.fixture
async def monitor(stack: Addresses, store: ObjectStore, tmp_path: Path) -> AsyncIterator[MonitorProcess]:
    process = MonitorProcess(stack=stack, folder=tmp_path)
    await store.ensure_bucket(process.database)
    await asyncio.to_thread(process.start)
    yield process
    assert await asyncio.to_thread(process.stop) == 0
    client = connect(stack.mongo, timeout_s=10)
    await client.drop_database(process.database)
    client.close()
    await store.delete_prefix(process.database, "")


async def test_what_is_written_to_the_topics_is_reported_at_the_api(
    monitor: MonitorProcess, stack: Addresses, store: ObjectStore
) -> None:
    project, story = unique_name("acme"), Story()
    example = {"id": "e", "feedback": "fb-1", "inference": "inf-1", "question": "What?"}
    ref = await ExchangeBucket(store, monitor.database).put(
        project, "helpdesk_sft", json.dumps(example).encode(), media_type="application/jsonl"
    )
    batch = {"bucket": ref.bucket, "key": ref.key, "size": str(ref.size), "sha256": ref.sha256, "examples": 1}
    named = {"curation": "helpdesk_sft", "dataset": "helpdesk_sft", "deployment": "helpdesk", "new_examples": 1}
    story.answer("inf-1")
    story.record("feedback.curation.completed", "helpdesk_sft", **named, batch=batch)
    story.publish()
    await write(stack, project, story)

    async with open_channel(f"127.0.0.1:{monitor.port}", project=project) as channel:
        stub = LineageServiceStub(channel)
        asked = pb.GetLineageRequest(kind="dataset_version", id="helpdesk_sft@1", direction=pb.LINEAGE_DIRECTION_BACK)
        deadline = time.monotonic() + 30
        kinds: set[str] = set()
        updates: list[str] = []
        while not {"feedback", "document_version"} <= kinds or len(updates) < 2:
            assert time.monotonic() < deadline, (kinds, updates)
            await asyncio.sleep(0.1)
            try:
                kinds = {node.kind for node in (await stub.GetLineage(asked)).nodes}
                timeline = await stub.GetTimeline(pb.GetTimelineRequest(deployment="helpdesk"))
                updates = [entry.event.split(".")[-2] for entry in timeline.entries]
            except NotFound:
                continue

    assert kinds >= {"dataset_version", "curation", "deployment", "feedback", "inference", "model_version"}
    assert updates == ["completed", "version_published"]


async def write(stack: Addresses, project: str, story: Story) -> None:
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka, acks="all") as producer:
        for event in story.events:
            body = json.dumps(event.data).encode()
            sent = CloudEvent(
                id=derived_id(project, event.type, event.subject),
                source="/tests",
                type=event.type,
                subject=event.subject,
                project=project,
                time=event.time,
                data=body,
            )
            key = f"{project}/{event.subject}".encode()
            await producer.send_and_wait(event.topic, body, key=key, headers=list(to_headers(sent)))


@dataclass(frozen=True)
class Answers:
    """Answers of one model, as inference publishes them."""

    process: MonitorProcess
    project: str
    topics: Sequence[str] = ()

    async def send(self, piece: str) -> None:
        story = Story()
        story.answer(piece, documents=("d1",))
        await write(self.process.stack, self.project, story)

    async def done(self) -> Sequence[str]:
        asked = pb.GetLineageRequest(kind="model_version", id="smollm2@1", direction=pb.LINEAGE_DIRECTION_FORWARD)
        async with open_channel(f"127.0.0.1:{self.process.port}", project=self.project) as channel:
            found = await LineageServiceStub(channel).GetLineage(asked)
        return [node.id for node in found.nodes if node.kind == "inference"]


async def test_each_answer_is_in_the_lineage_once_whenever_the_process_is_killed(monitor: MonitorProcess) -> None:
    await outlives_a_kill(Answers(monitor, unique_name("acme")))
