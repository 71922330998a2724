"""The review queues that rules are about, as feedback answers."""

from collections.abc import AsyncIterator

import grpc
import pytest

from services.ingest.tests.fakes import ACME
from tidemill.feedback.v1 import review_pb2, review_service_pb2, review_service_pb2_grpc
from tidemill_core.errors import DependencyUnavailable, NotFound
from tidemill_core.grpc.client import open_channel
from tidemill_ingest.datasets.domain.label_rules import FieldKind, QueueField
from tidemill_ingest.datasets.feedback import FeedbackReviewQueues, UnknownReviewQueues
from tidemill_ingest.datasets.ports import ANY_FIELDS
from tidemill_testkit.stubs.calls import Context, errors_of, project_of, with_reason


class Reviews(review_service_pb2_grpc.ReviewServiceServicer):
    """Knows the queue quality of acme."""

    async def GetReviewQueue(  # noqa: N802 - the contract's name
        self, request: review_service_pb2.GetReviewQueueRequest, context: Context
    ) -> review_service_pb2.GetReviewQueueResponse:
        async with errors_of(context):
            if (project_of(context), request.id) != ("acme", "quality"):
                message = "there is no such queue"
                raise with_reason(NotFound(message), reason="REVIEW_QUEUE_NOT_FOUND")
        fields = [
            review_pb2.LabelField(name="verdict", kind=review_pb2.LABEL_KIND_CATEGORY, choices=["good", "bad"]),
            review_pb2.LabelField(name="score", kind=review_pb2.LABEL_KIND_NUMBER),
            review_pb2.LabelField(name="better", kind=review_pb2.LABEL_KIND_TEXT),
        ]
        queue = review_pb2.ReviewQueue(id="quality", fields=fields)
        return review_service_pb2.GetReviewQueueResponse(queue=queue)


@pytest.fixture
async def queues() -> AsyncIterator[FeedbackReviewQueues]:
    server = grpc.aio.server()
    review_service_pb2_grpc.add_ReviewServiceServicer_to_server(Reviews(), server)  # type: ignore[abstract]  # it has what is called
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with open_channel(f"127.0.0.1:{port}", timeout_s=10) as channel:
        yield FeedbackReviewQueues(channel)
    await server.stop(None)


async def test_the_fields_of_a_queue_are_those_that_feedback_has(queues: FeedbackReviewQueues) -> None:
    assert await queues.fields(ACME, "quality") == {
        "verdict": QueueField(kind=FieldKind.CATEGORY, choices=("good", "bad")),
        "score": QueueField(kind=FieldKind.NUMBER),
        "better": QueueField(kind=FieldKind.TEXT),
    }
    assert await queues.fields(ACME, "quallity") is None


async def test_while_feedback_is_away_no_rule_is_accepted() -> None:
    async with open_channel("127.0.0.1:1", timeout_s=1) as channel:
        with pytest.raises(DependencyUnavailable):
            await FeedbackReviewQueues(channel).fields(ACME, "quality")


async def test_without_an_address_no_rule_is_refused() -> None:
    assert await UnknownReviewQueues().fields(ACME, "quality") is ANY_FIELDS
