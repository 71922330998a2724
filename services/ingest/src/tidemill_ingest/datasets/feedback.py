"""Review queues, as feedback has them."""

from collections.abc import Mapping

import grpc

from tidemill.feedback.v1 import review_pb2, review_service_pb2
from tidemill.feedback.v1.review_service_pb2_grpc import ReviewServiceStub
from tidemill_core.application import Caller
from tidemill_core.errors import NotFound
from tidemill_core.grpc.context import acting_as
from tidemill_ingest.datasets.domain.label_rules import FieldKind, QueueField
from tidemill_ingest.datasets.ports import ANY_FIELDS

_KINDS: Mapping[review_pb2.LabelKind.ValueType, FieldKind] = {
    review_pb2.LABEL_KIND_CATEGORY: FieldKind.CATEGORY,
    review_pb2.LABEL_KIND_BOOLEAN: FieldKind.BOOLEAN,
    review_pb2.LABEL_KIND_NUMBER: FieldKind.NUMBER,
}


class FeedbackReviewQueues:
    """Implements `ports.ReviewQueues`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._reviews = ReviewServiceStub(channel)

    async def fields(self, caller: Caller, queue: str) -> Mapping[str, QueueField] | None:
        """See `ReviewQueues.fields`."""
        try:
            with acting_as(caller):
                request = review_service_pb2.GetReviewQueueRequest(id=queue)
                found = (await self._reviews.GetReviewQueue(request)).queue
        except NotFound:
            return None
        return {
            each.name: QueueField(kind=_KINDS.get(each.kind, FieldKind.TEXT), choices=tuple(each.choices))
            for each in found.fields
        }


class UnknownReviewQueues:
    """Implements `ports.ReviewQueues` where the operator gave ingest no address of feedback."""

    async def fields(self, caller: Caller, queue: str) -> Mapping[str, QueueField] | None:
        """See `ReviewQueues.fields`."""
        del caller, queue
        return ANY_FIELDS
