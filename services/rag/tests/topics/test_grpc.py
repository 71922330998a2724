"""TopicService, as callers see it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.rag.tests.collections.test_grpc import settings
from services.rag.tests.topics.subjects import Described, described
from tidemill.rag.v1.topic_pb2 import TopicPeriod
from tidemill.rag.v1.topic_service_pb2 import GetTopicsRequest
from tidemill.rag.v1.topic_service_pb2_grpc import TopicServiceStub, add_TopicServiceServicer_to_server
from tidemill_core.errors import InvalidInput, PreconditionFailed
from tidemill_kit.grpc.server import GrpcServer
from tidemill_rag.topics.grpc import GrpcTopicService
from tidemill_testkit.access import access_of, admin_channel
from tidemill_testkit.audit import RecordedCalls


@pytest.fixture
async def harness() -> Described:
    return await described()


@pytest.fixture
async def topics(harness: Described, tmp_path: Path) -> AsyncIterator[TopicServiceStub]:
    servicer = add_TopicServiceServicer_to_server, GrpcTopicService(describe=harness.describe)
    server = GrpcServer(settings(tmp_path), [servicer], access=access_of(), audit=RecordedCalls())
    await server.start()
    async with admin_channel(f"127.0.0.1:{server.port}", project="acme", timeout_s=60) as channel:
        yield TopicServiceStub(channel)
    await server.stop(1)


async def test_topics_are_returned_with_the_comparison_of_two_periods(topics: TopicServiceStub) -> None:
    november = TopicPeriod(first_day="2026-11-10", last_day="2026-11-30")
    before = TopicPeriod(first_day="2026-11-01", last_day="2026-11-09")

    reply = await topics.GetTopics(GetTopicsRequest(collection="handbook", period=november, baseline=before))

    assert [(topic.number, topic.documents, topic.documents_of_period) for topic in reply.topics] == [
        (1, 12, 6),
        (2, 12, 6),
        (3, 12, 6),
    ]
    assert reply.topics[0].terms[0].documents == 12
    assert reply.topics[0].examples[0].source == "cms"
    assert (reply.HasField("shift"), reply.shift.shifted, reply.index) == (True, False, 1)


async def test_days_that_are_none_and_collections_that_are_too_small_are_refused(
    topics: TopicServiceStub, harness: Described
) -> None:
    soon, empty = TopicPeriod(first_day="soon", last_day="2026-11-30"), TopicPeriod()
    turned = TopicPeriod(first_day="2026-11-30", last_day="2026-11-01")
    for period, message in (
        (soon, "first_day: is 'soon'"),
        (empty, "first_day: is ''"),
        (turned, "last_day: is 2026-"),
    ):
        with pytest.raises(InvalidInput, match=rf"period\.{message}"):
            await topics.GetTopics(GetTopicsRequest(collection="handbook", period=period))
    for subject in ("vpn", "food"):
        for number in range(12):
            await harness.rag.consume(harness.rag.ingest.remove(f"cms-{subject}-{number:02}", seq=2))

    with pytest.raises(PreconditionFailed, match="12 of the documents asked for") as refused:
        await topics.GetTopics(GetTopicsRequest(collection="handbook"))
    assert refused.value.reason == "TOO_FEW_DOCUMENTS"
