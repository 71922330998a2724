"""Corrections and resolved reviews, as feedback has them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import grpc

from tidemill.feedback.v1 import feedback_pb2, feedback_service_pb2, review_pb2, review_service_pb2
from tidemill.feedback.v1.feedback_service_pb2_grpc import FeedbackServiceStub
from tidemill.feedback.v1.review_service_pb2_grpc import ReviewServiceStub
from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput, NotFound, PreconditionFailed
from tidemill_core.grpc.context import acting_as
from tidemill_evaluator.proposals.domain.proposal import LiveAnswers
from tidemill_evaluator.proposals.ports import Reviewed

_PAGE, _PAGES = 200, 25
"""So many of the latest reactions, or resolved items, are read."""
_CORRECTION, _USER = "correction", "user"


class FeedbackReviews:
    """Implements `ports.Reviews`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._feedback = FeedbackServiceStub(channel)
        self._reviews = ReviewServiceStub(channel)

    async def corrected(self, caller: Caller, deployment: str) -> Sequence[Reviewed]:
        """See `Reviews.corrected`."""
        request = feedback_service_pb2.ListFeedbackRequest(
            deployment=deployment, page_size=_PAGE, order_by="create_time desc"
        )
        found = dict[str, Reviewed]()
        async for page in _pages(caller, self._reactions, request):
            for each in page.feedback:
                if (said := _corrected(each)) is None:
                    continue
                known = found.setdefault(said.inference, said)
                if known.reference != said.reference:
                    found[said.inference] = Reviewed(
                        inference=known.inference, reference=known.reference, by=known.by, contradicted=True
                    )
        return list(found.values())

    async def resolved(self, caller: Caller, live: LiveAnswers) -> Sequence[Reviewed]:
        """See `Reviews.resolved`."""
        await self._check_fields(caller, live)
        request = review_service_pb2.ListReviewItemsRequest(
            queue=live.queue,
            page_size=_PAGE,
            order_by="create_time desc",
            state=review_pb2.REVIEW_ITEM_STATE_RESOLVED,
        )
        found = list[Reviewed]()
        async for page in _pages(caller, self._items, request):
            items = (_resolved(each, live) for each in page.items)
            found += [each for each in items if each is not None]
        return found

    async def _reactions(
        self, request: feedback_service_pb2.ListFeedbackRequest
    ) -> feedback_service_pb2.ListFeedbackResponse:
        return await self._feedback.ListFeedback(request)

    async def _items(
        self, request: review_service_pb2.ListReviewItemsRequest
    ) -> review_service_pb2.ListReviewItemsResponse:
        return await self._reviews.ListReviewItems(request)

    async def _check_fields(self, caller: Caller, live: LiveAnswers) -> None:
        try:
            with acting_as(caller):
                request = review_service_pb2.GetReviewQueueRequest(id=live.queue)
                queue = (await self._reviews.GetReviewQueue(request)).queue
        except NotFound as error:
            raise InvalidInput.at(
                field="proposal.live.queue", text=f"is {live.queue}: there is no such queue"
            ) from error
        kinds = {each.name: each.kind for each in queue.fields}
        _check(kinds, "right_field", live.right_field, review_pb2.LABEL_KIND_BOOLEAN, "boolean")
        _check(kinds, "text_field", live.text_field, review_pb2.LABEL_KIND_TEXT, "text")


class UnknownReviews:
    """Implements `ports.Reviews` where the operator gave evaluator no address of feedback."""

    async def corrected(self, caller: Caller, deployment: str) -> Sequence[Reviewed]:
        """See `Reviews.corrected`."""
        del caller, deployment
        message = "live answers cannot be proposed: set EVALUATOR_FEEDBACK_ADDRESS, and start evaluator again"
        raise PreconditionFailed(message)

    async def resolved(self, caller: Caller, live: LiveAnswers) -> Sequence[Reviewed]:
        """See `Reviews.resolved`."""
        return await self.corrected(caller, live.deployment)


async def _pages(caller: Caller, method: Callable[[Any], Awaitable[Any]], request: Any) -> AsyncIterator[Any]:  # noqa: ANN401 - of two lists
    for _ in range(_PAGES):
        with acting_as(caller):
            page = await method(request)
        yield page
        request.page_token = page.next_page_token
        if not request.page_token:
            return


def _check(kinds: Mapping[str, int], field: str, name: str, kind: int, meant: str) -> None:
    if name and kinds.get(name) != kind:
        usable = ", ".join(sorted(each for each, of in kinds.items() if of == kind)) or "none"
        text = f"is {name[:80]!r}: name a {meant} field of the queue: {usable}"
        raise InvalidInput.at(field=f"proposal.live.{field}", text=text)


def _corrected(given: feedback_pb2.Feedback) -> Reviewed | None:
    counts = given.counts and given.state == feedback_pb2.FEEDBACK_STATE_RECORDED
    if not counts or given.metric != _CORRECTION or given.WhichOneof("value") != _CORRECTION:
        return None
    text = "".join(part.text for message in given.correction.output for part in message.parts)
    by = given.end_user if given.rater in {"", _USER} else ""
    return Reviewed(inference=given.inference, reference=text, by=by)


def _resolved(item: review_pb2.ReviewItem, live: LiveAnswers) -> Reviewed | None:
    if item.subject.kind != review_pb2.SUBJECT_KIND_INFERENCE:
        return None
    labels = {each.field: each for each in item.resolved.labels}
    written = labels.get(live.text_field) if live.text_field else None
    if written is not None and written.text.strip():
        return Reviewed(inference=item.subject.id, reference=written.text)
    right = labels.get(live.right_field) if live.right_field else None
    return Reviewed(inference=item.subject.id) if right is not None and right.boolean else None
