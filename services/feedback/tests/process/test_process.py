"""Feedback on Kafka, MongoDB and S3, beside an inference: what goes in, and what comes out exactly once."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from services.feedback.tests.inference_server import InferenceServer
from services.feedback.tests.process.harness import CURATIONS, DEAD, FEEDBACK, INFERENCES, FeedbackProcess, Others
from tidemill.content.v1 import content_pb2
from tidemill.feedback.v1 import curation_pb2, feedback_pb2, review_pb2
from tidemill.feedback.v1.curation_service_pb2 import CreateCurationRequest, GetCurationRequest
from tidemill.feedback.v1.curation_service_pb2_grpc import CurationServiceStub
from tidemill.feedback.v1.feedback_service_pb2 import ListFeedbackRequest, SubmitFeedbackRequest
from tidemill.feedback.v1.feedback_service_pb2_grpc import FeedbackServiceStub
from tidemill.feedback.v1.review_service_pb2 import CreateReviewQueueRequest, ListReviewItemsRequest
from tidemill.feedback.v1.review_service_pb2_grpc import ReviewServiceStub
from tidemill_kit.store.mongo import connect
from tidemill_local import Addresses
from tidemill_testkit.access import admin_channel, admin_headers
from tidemill_testkit.buckets import remove_bucket
from tidemill_testkit.crash_suite import PIECES, outlives_a_kill
from tidemill_testkit.polling import eventually
from tidemill_testkit.stack import NewTopicFactory, unique_name

WORDS = "The right words of a user"


@pytest.fixture
async def process(stack: Addresses, tmp_path: Path, new_topic: NewTopicFactory) -> AsyncIterator[FeedbackProcess]:
    inference = InferenceServer()
    await inference.start()
    process = FeedbackProcess(stack=stack, folder=tmp_path, topic=await new_topic(), inference=inference)
    await asyncio.to_thread(process.start)
    yield process
    assert await asyncio.to_thread(process.stop) == 0
    await inference.stop()
    await remove_bucket(stack, process.bucket)
    client = connect(stack.mongo, timeout_s=10)
    await client.drop_database(process.database)
    client.close()


@pytest.fixture
async def others(process: FeedbackProcess) -> AsyncIterator[Others]:
    producer = AIOKafkaProducer(bootstrap_servers=process.stack.kafka, acks="all")
    consumer = AIOKafkaConsumer(FEEDBACK, CURATIONS, DEAD, bootstrap_servers=process.stack.kafka)
    await producer.start()
    await consumer.start()
    await consumer.seek_to_end()
    yield Others(project=unique_name("acme"), topic=process.topic, producer=producer, consumer=consumer)
    await consumer.stop()
    await producer.stop()


async def submit(process: FeedbackProcess, project: str, *inferences: str) -> None:
    async with admin_channel(f"127.0.0.1:{process.port}", project=project) as channel:
        for inference in inferences:
            feedback = feedback_pb2.Feedback(inference=inference, metric="correction")
            part = content_pb2.Part(text=f"{WORDS} about {inference}")
            feedback.correction.output.add(role=content_pb2.ROLE_ASSISTANT, parts=[part])
            await FeedbackServiceStub(channel).SubmitFeedback(
                SubmitFeedbackRequest(feedback=feedback, request_id=f"r-{inference}")
            )


async def completions_by_http(process: FeedbackProcess, project: str) -> object:
    """Return how often the curation was completed, as the JSON API of a service that is ready has it."""
    headers = admin_headers(project)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{process.http_port}", headers=headers) as http:
        assert (await http.get("/healthz/ready")).status_code == 200
        shown = await http.post("/tidemill.feedback.v1.CurationService/GetCuration", json={"id": "sft"})
    return shown.json()["curation"]["progress"]["completions"]


async def received(others: Others, topic: str, events: int) -> None:
    """Return once a topic has so many different events."""

    async def are_there() -> bool:
        return len({headers["ce_id"] for headers, _ in await others.of(topic)}) == events

    await eventually(are_there)


async def curate(process: FeedbackProcess, project: str) -> None:
    """Declare a curation that is complete with every five corrections."""
    async with admin_channel(f"127.0.0.1:{process.port}", project=project) as channel:
        curation = curation_pb2.Curation(
            id="sft", dataset="helpdesk_sft", deployment="helpdesk", feedback=["correction"], new_examples=5
        )
        await CurationServiceStub(channel).CreateCuration(CreateCurationRequest(curation=curation))


async def sample(process: FeedbackProcess, project: str) -> None:
    """Declare a review queue that samples what is answered."""
    queue = review_pb2.ReviewQueue(
        id="answers",
        fields=[review_pb2.LabelField(name="correct", kind=review_pb2.LABEL_KIND_BOOLEAN)],
        sampling=review_pb2.ReviewSampling(deployment="helpdesk", strategy=review_pb2.SAMPLING_STRATEGY_NEWEST),
    )
    async with admin_channel(f"127.0.0.1:{process.port}", project=project) as channel:
        await ReviewServiceStub(channel).CreateReviewQueue(CreateReviewQueueRequest(queue=queue))


async def sampled(process: FeedbackProcess, project: str, *inferences: str) -> None:
    """Return once the review queue has these answers."""

    async def are_there() -> bool:
        async with admin_channel(f"127.0.0.1:{process.port}", project=project) as channel:
            listed = await ReviewServiceStub(channel).ListReviewItems(ListReviewItemsRequest(queue="answers"))
        return [each.subject.id for each in listed.items] == [*inferences]

    await eventually(are_there)


async def correct_by_events(others: Others) -> None:
    """Correct two answers, one of them twice, one that comes later, one that never does, and one with nothing new."""
    await others.correct("i2", f"{WORDS} 2", event_id="e2")
    await others.correct("i2", f"{WORDS} 2", event_id="e2")
    await others.correct("i3", f"{WORDS} 3", event_id="e3")
    await others.correct("ahead", f"{WORDS} ahead", event_id="e4")
    await others.correct("never", f"{WORDS} never", event_id="e5")
    await others.correct("i4", "It is  wrong.", event_id="e6")


async def test_corrections_of_both_channels_become_one_batch_and_after_a_kill_the_next(
    process: FeedbackProcess, others: Others
) -> None:
    project = others.project
    for number in range(8):
        process.inference.put(f"i{number}", project=project, end_user=f"u{number}")
    await curate(process, project)
    await sample(process, project)
    await submit(process, project, "i0", "i1")
    await correct_by_events(others)

    async def waits() -> bool:
        async with admin_channel(f"127.0.0.1:{process.port}", project=project) as channel:
            found = await FeedbackServiceStub(channel).ListFeedback(ListFeedbackRequest(inference="ahead"))
        return [each.state for each in found.feedback] == [feedback_pb2.FEEDBACK_STATE_PENDING]

    await eventually(waits)
    process.inference.put("ahead", project=project)
    answered = {"inference": "ahead", "deployment": "helpdesk"}
    await others.publish(INFERENCES, "tidemill.inference.inference.completed.v1", "ahead", answered, event_id="c1")

    await received(others, CURATIONS, 1)
    [(headers, first)] = await others.of(CURATIONS)
    assert headers["ce_type"] == "tidemill.feedback.curation.completed.v1"
    lines = await process.batch(first)
    assert {line["inference"] for line in lines} == {"i0", "i1", "i2", "i3", "ahead"}
    assert all(WORDS in line["output"]["parts"][0]["text"] for line in lines)
    assert (first["dataset"], first["new_examples"], first["batch"]["examples"]) == ("helpdesk_sft", 5, 5)

    await received(others, DEAD, 2)
    reasons = {each["ce_id"]: each["tidemill_dead_reason"] for each, _ in await others.of(DEAD)}
    assert reasons == {"e5": "INFERENCE_NOT_FOUND", "e6": "NOTHING_CORRECTED"}

    for name in ("i5", "i6", "i7", "n1", "n2"):
        process.inference.put(name, project=project)
    await submit(process, project, "i5", "i6", "i7", "n1", "n2")
    process.kill()
    await asyncio.to_thread(process.start)

    await received(others, CURATIONS, 2)
    async with admin_channel(f"127.0.0.1:{process.port}", project=project) as channel:
        shown = await CurationServiceStub(channel).GetCuration(GetCurationRequest(id="sft"))
    assert (shown.curation.progress.completions, shown.curation.seq) == (2, 2)
    assert await completions_by_http(process, project) == 2
    bodies = {each["ce_id"]: body for each, body in await others.of(CURATIONS)}
    assert [len(await process.batch(body)) for body in bodies.values()] == [5, 10]
    await received(others, FEEDBACK, 10)
    seen = json.dumps([body for topic in (FEEDBACK, CURATIONS) for _, body in await others.of(topic)])
    assert WORDS not in seen
    await sampled(process, project, "ahead")
    assert WORDS.encode() not in process.log.read_bytes()


@dataclass(frozen=True)
class Submissions:
    """Corrections of answers, as a product sends them."""

    process: FeedbackProcess
    project: str = "acme"
    topics: Sequence[str] = (FEEDBACK,)

    async def send(self, piece: str) -> None:
        await submit(self.process, self.project, piece)

    async def done(self) -> Sequence[str]:
        async with admin_channel(f"127.0.0.1:{self.process.port}", project=self.project) as channel:
            listed = await FeedbackServiceStub(channel).ListFeedback(ListFeedbackRequest())
        return [each.inference for each in listed.feedback]


async def test_each_submission_counts_once_whenever_the_process_is_killed(process: FeedbackProcess) -> None:
    for number in range(PIECES):
        process.inference.put(f"piece-{number}", project="acme")
    await outlives_a_kill(Submissions(process))
