"""Review queues, as feedback has them."""

from collections.abc import Mapping, Sequence

import grpc

from tidemill.feedback.v1 import review_pb2, review_service_pb2
from tidemill.feedback.v1.review_service_pb2_grpc import ReviewServiceStub
from tidemill_core.application import Caller
from tidemill_core.errors import NotFound, PreconditionFailed
from tidemill_core.grpc.context import acting_as
from tidemill_evaluator.judges.ports import LabelledItem, ReviewField

_PAGE = 200
_PAGES = 5
"""At most so many times the items that are asked for are read to find those that have a field."""


class FeedbackReviewQueues:
    """Implements `ports.ReviewQueues`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._reviews = ReviewServiceStub(channel)

    async def fields(self, caller: Caller, queue: str) -> Mapping[str, ReviewField] | None:
        """See `ReviewQueues.fields`."""
        try:
            with acting_as(caller):
                request = review_service_pb2.GetReviewQueueRequest(id=queue)
                found = (await self._reviews.GetReviewQueue(request)).queue
        except NotFound:
            return None
        usable = (_field_of(each) for each in found.fields)
        return {field.name: field for field in usable if field is not None}

    async def labelled(self, caller: Caller, queue: str, field: ReviewField, *, limit: int) -> Sequence[LabelledItem]:
        """See `ReviewQueues.labelled`."""
        found, token = list[LabelledItem](), ""
        for _ in range(_PAGES + _PAGES * limit // _PAGE):
            request = review_service_pb2.ListReviewItemsRequest(
                queue=queue,
                page_size=_PAGE,
                page_token=token,
                order_by="create_time desc",
                state=review_pb2.REVIEW_ITEM_STATE_RESOLVED,
            )
            with acting_as(caller):
                page = await self._reviews.ListReviewItems(request)
            items = (_item_of(each, field) for each in page.items)
            found += [item for item in items if item is not None]
            token = page.next_page_token
            if not token or len(found) >= limit:
                break
        return found[:limit]


class UnknownReviewQueues:
    """Implements `ports.ReviewQueues` where the operator gave evaluator no address of feedback."""

    async def fields(self, caller: Caller, queue: str) -> Mapping[str, ReviewField] | None:
        """See `ReviewQueues.fields`."""
        del caller, queue
        message = "judges cannot be measured: set EVALUATOR_FEEDBACK_ADDRESS, and start evaluator again"
        raise PreconditionFailed(message)

    async def labelled(self, caller: Caller, queue: str, field: ReviewField, *, limit: int) -> Sequence[LabelledItem]:
        """See `ReviewQueues.labelled`."""
        del caller, queue, field, limit
        return []


def _field_of(field: review_pb2.LabelField) -> ReviewField | None:
    if field.kind == review_pb2.LABEL_KIND_BOOLEAN:
        return ReviewField(name=field.name, boolean=True)
    bounded = field.HasField("min") and field.HasField("max") and field.min < field.max
    if field.kind == review_pb2.LABEL_KIND_NUMBER and bounded:
        return ReviewField(name=field.name, low=field.min, high=field.max)
    return None


def _item_of(item: review_pb2.ReviewItem, field: ReviewField) -> LabelledItem | None:
    if item.subject.kind != review_pb2.SUBJECT_KIND_INFERENCE:
        return None
    kind = "boolean" if field.boolean else "number"
    for each in item.resolved.labels:
        if each.field == field.name and each.WhichOneof("value") == kind:
            label = float(each.boolean) if field.boolean else field.share(each.number)
            return LabelledItem(id=item.id, inference=item.subject.id, label=label)
    return None
