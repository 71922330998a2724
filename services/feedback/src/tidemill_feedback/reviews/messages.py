"""Mapping of review queues and items to messages and events: events have choices and numbers, never texts."""

from collections.abc import Iterable, Sequence

from google.protobuf.message import Message

from tidemill.feedback.v1 import events_pb2 as events
from tidemill.feedback.v1 import review_pb2 as pb
from tidemill_core.aggregate import Event
from tidemill_core.characters import clean
from tidemill_core.errors import InvalidInput
from tidemill_feedback.reviews.add_items import GivenItem, GivenReview
from tidemill_feedback.reviews.claim_item import Claimed
from tidemill_feedback.reviews.domain.item import (
    ItemState,
    Resolution,
    Review,
    ReviewItem,
    ReviewItemWasRemoved,
    ReviewItemWasResolved,
    Subject,
)
from tidemill_feedback.reviews.domain.labels import Label, LabelKind, comparable
from tidemill_feedback.reviews.domain.queue import QueueSpec, ReviewQueue
from tidemill_feedback.reviews.report_queue import QueueReport
from tidemill_kit.mapping import from_message, to_message

TOPIC = "tidemill.feedback.review.v1"
RESOLVED = "tidemill.feedback.review.resolved.v1"
REMOVED = "tidemill.feedback.review.removed.v1"


def spec_of(message: pb.ReviewQueue) -> QueueSpec:
    """Return what a queue message declares."""
    return from_message(QueueSpec, message, ignore={"id"})


def queue_message(queue: ReviewQueue) -> pb.ReviewQueue:
    """Return a queue as callers see it."""
    return to_message(pb.ReviewQueue, queue, queue.spec)


def labels_of(messages: Iterable[pb.ReviewLabel], *, field: str) -> tuple[Label, ...]:
    """Return the labels of a request; `field` is their path in it.

    Raises:
        InvalidInput: one has no value.

    """
    return tuple(_label_of(each, f"{field}[{place}]") for place, each in enumerate(messages))


def given_item(message: pb.ReviewItem, *, field: str) -> GivenItem:
    """Return an item that a caller names; `field` is its path in the request.

    Raises:
        InvalidInput: a label has no value, or the subject no kind.

    """
    return GivenItem(
        subject=from_message(Subject, message.subject, prefix=f"{field}.subject"),
        expected=labels_of(message.expected, field=f"{field}.expected"),
        reviews=tuple(
            GivenReview(reviewer=each.reviewer, labels=labels_of(each.labels, field=f"{field}.reviews[{place}].labels"))
            for place, each in enumerate(message.reviews)
        ),
    )


def state_of(state: pb.ReviewItemState.ValueType) -> ItemState | None:
    """Return the state that a list is filtered by; None for all.

    Raises:
        InvalidInput: there is no such state.

    """
    if state == pb.REVIEW_ITEM_STATE_UNSPECIFIED:
        return None
    if state not in pb.ReviewItemState.values():
        raise InvalidInput.at(field="state", text=f"is {state}; use one of {', '.join(pb.ReviewItemState.keys()[1:])}")
    return ItemState[pb.ReviewItemState.Name(state).removeprefix("REVIEW_ITEM_STATE_")]


def item_message(item: ReviewItem) -> pb.ReviewItem:
    """Return an item with all that was said of it."""
    return to_message(
        pb.ReviewItem,
        item,
        reviews=[*map(review_message, item.reviews)],
        resolved=_resolution(item.resolved) if item.resolved else None,
        expected=_labels(item.expected),
        message=item.message or _waits_for(item),
    )


def review_message(review: Review) -> pb.Review:
    """Return one review."""
    return to_message(pb.Review, review, labels=_labels(review.labels))


def claim_message(claimed: Claimed) -> pb.ReviewClaim:
    """Return a claim: the item without what others said of it."""
    item = claimed.item
    return to_message(pb.ReviewClaim, claimed.claim, item=item.id, subject=item.subject)


def report_message(report: QueueReport) -> pb.ReviewQueueReport:
    """Return a report."""
    by_state = report.counts.by_state
    return to_message(
        pb.ReviewQueueReport,
        report,
        open_items=by_state.get(ItemState.OPEN, 0),
        resolved_items=by_state.get(ItemState.RESOLVED, 0),
        disputed_items=by_state.get(ItemState.DISPUTED, 0),
        gold_items=report.counts.gold,
    )


def item_payload(item: ReviewItem, event: Event, seq: int) -> tuple[str, Message]:
    """Return the ce_type and the payload of an event of an item."""
    if isinstance(event, ReviewItemWasRemoved):
        return REMOVED, to_message(events.ReviewItemRemoved, item, item=item.id, seq=seq, remove_time=event.occurred_at)
    if not isinstance(event, ReviewItemWasResolved):
        raise TypeError(event)
    resolved = event.resolved
    said = _labels(comparable(resolved.labels))
    return RESOLVED, to_message(events.ReviewItemResolved, resolved, item, item=item.id, seq=seq, labels=said)


def _resolution(resolved: Resolution) -> pb.Resolution:
    return to_message(pb.Resolution, resolved, labels=_labels(resolved.labels))


def _labels(labels: Iterable[Label]) -> Sequence[pb.ReviewLabel]:
    return [pb.ReviewLabel(field=each.field, **{each.kind.value: each.value}) for each in labels]  # type: ignore[arg-type]  # as its kind says


def _label_of(message: pb.ReviewLabel, field: str) -> Label:
    name = message.WhichOneof("value")
    if name is None:
        text = "has no value: send category, boolean, number or text, as the field's kind is, or leave it out"
        raise InvalidInput.at(field=f"{field}.value", text=text)
    value = getattr(message, name)
    return Label(field=message.field, kind=LabelKind(name), value=clean(value).strip() if name == "text" else value)


def _waits_for(item: ReviewItem) -> str:
    if item.state is not ItemState.OPEN:
        return ""
    return "a gold item" if item.gold else f"{len(item.reviews)} of {item.slots} reviews"
