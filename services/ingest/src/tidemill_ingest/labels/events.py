"""What reviewers agreed on, as feedback publishes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, Field

from tidemill_ingest.labels.domain import ItemLabels, Label, LabelValue, SubjectKind
from tidemill_ingest.labels.keep_labels import KeepLabels
from tidemill_kit.events.subscriptions import Delivery, EventContext, Route, Subscription

NAME = "ingest.labels"
RESOLVED = "tidemill.feedback.review.resolved.v1"
REMOVED = "tidemill.feedback.review.removed.v1"
_KINDS = {"SUBJECT_KIND_DOCUMENT": SubjectKind.DOCUMENT, "SUBJECT_KIND_EXAMPLE": SubjectKind.EXAMPLE}


class ReviewSubject(BaseModel):
    """What an item is about."""

    kind: str = ""
    id: str = ""
    dataset: str = ""


class ReviewLabel(BaseModel):
    """The value of a field; texts are in no event."""

    field: str
    category: str | None = None
    boolean: bool | None = None
    number: float | None = None

    @property
    def value(self) -> LabelValue | None:
        """The value; None of a kind that is not known."""
        return next((each for each in (self.category, self.boolean, self.number) if each is not None), None)


class ReviewItemResolved(BaseModel):
    """What is read of review.resolved."""

    item: str = Field(min_length=1)
    seq: int = Field(ge=1)
    queue: str = Field(min_length=1)
    subject: ReviewSubject
    labels: list[ReviewLabel] = []
    reviewers: list[str] = []
    adjudicator: str = ""
    resolve_time: datetime


class ReviewItemRemoved(BaseModel):
    """What is read of review.removed."""

    item: str = Field(min_length=1)
    seq: int = Field(ge=1)
    subject: ReviewSubject


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewedItems:
    """Of an item the latest event counts: it says all that counts."""

    keep: KeepLabels

    def subscription(self, topics: Sequence[str]) -> Subscription:
        """Return what is consumed."""
        return Subscription(
            name=NAME,
            topics=tuple(topics),
            delivery=Delivery.LATEST,
            routes={
                RESOLVED: Route(ReviewItemResolved, self.resolved),
                REMOVED: Route(ReviewItemRemoved, self.removed),
            },
        )

    async def resolved(self, context: EventContext, body: ReviewItemResolved) -> None:
        """Keep the labels of a document or an example; those of answers are no concern of ingest."""
        kind = _KINDS.get(body.subject.kind)
        if kind is None or not body.subject.id:
            return
        found = ItemLabels(
            item=body.item,
            seq=body.seq,
            queue=body.queue,
            kind=kind,
            subject=body.subject.id,
            dataset=body.subject.dataset,
            labels=tuple(Label(field=each.field, value=each.value) for each in body.labels if each.value is not None),
            reviewers=tuple(dict.fromkeys(body.reviewers)),
            adjudicator=body.adjudicator,
            resolve_time=body.resolve_time,
        )
        await self.keep(context.caller, found)

    async def removed(self, context: EventContext, body: ReviewItemRemoved) -> None:
        """Keep nothing of an item any more but its number."""
        if body.subject.kind in _KINDS:
            await self.keep(context.caller, ItemLabels(item=body.item, seq=body.seq))
