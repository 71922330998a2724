"""An item of a queue: who has it, what reviewers said of it, and what counts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum

from tidemill_core.aggregate import Aggregate, Event
from tidemill_core.application import derived_id
from tidemill_feedback.errors import ClaimExpired, NotReviewable, ReviewGiven
from tidemill_feedback.reviews.domain.labels import Label, comparable, values_of
from tidemill_feedback.reviews.domain.queue import ReviewQueue
from tidemill_feedback.reviews.domain.resolving import Dispute, decide

GIVEN = "given"
ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
MAX_NAMES = 500
"""Reviewers of one gold item, and those who gave an item back."""
GIVEN_BACK = 3
"""An item that so many reviewers gave back, or as many as it needs, is offered to no others."""


class ItemState(Enum):
    """The state of an item."""

    OPEN = "open"
    RESOLVED = "resolved"
    DISPUTED = "disputed"
    REMOVED = "removed"


class SubjectKind(Enum):
    """What an item is about."""

    INFERENCE = "inference"
    DOCUMENT = "document"
    EXAMPLE = "example"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What an item is about. Its text stays with its owner."""

    kind: SubjectKind
    id: str
    dataset: str = ""
    inference: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A reviewer has an item until the claim expires."""

    id: str
    reviewer: str
    expire_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What one reviewer says."""

    claim: str
    reviewer: str
    labels: tuple[Label, ...]
    submit_time: datetime
    asked: tuple[str, ...] = ()
    """The fields that the queue had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What counts of an item, and who decided it."""

    labels: tuple[Label, ...]
    reviewers: tuple[str, ...]
    adjudicator: str = ""
    resolve_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewItemWasResolved(Event):
    """The labels of an item count, for the first time or instead of earlier ones."""

    resolved: Resolution


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewItemWasRemoved(Event):
    """The labels of an item count no longer."""


@dataclass(slots=True, kw_only=True)
class ReviewItem(Aggregate):
    """One thing to review. A gold item has `expected` labels: any number of reviewers gets it, and it stays open."""

    queue: str
    incarnation: int
    subject: Subject
    reason: str
    place: float
    """Where it is on the ring of the queue's items: each reviewer begins at a place of their own."""
    slots: int
    """How many reviews resolve it."""
    end_user: str = ""
    """Who asked; erased with them."""
    documents: tuple[str, ...] = ()
    """The documents whose passages its text has, or that it is; erased with any of them."""
    stratum: str = ""
    state: ItemState = ItemState.OPEN
    message: str = ""
    expected: tuple[Label, ...] = ()
    claims: tuple[Claim, ...] = ()
    released_by: tuple[str, ...] = ()
    reviews: tuple[Review, ...] = ()
    resolved: Resolution | None = None

    @property
    def gold(self) -> bool:
        """Whether what is right is known."""
        return bool(self.expected)

    @property
    def seen_by(self) -> tuple[str, ...]:
        """Who gets it no more: they have reviewed it or given it back."""
        return (*(each.reviewer for each in self.reviews), *self.released_by)

    @property
    def claimed_by(self) -> tuple[str, ...]:
        """Who has claimed it, also some time ago."""
        return tuple(each.reviewer for each in self.claims)

    @property
    def named(self) -> tuple[str, ...]:
        """Everyone whom it names for what they did."""
        adjudicator = (self.resolved.adjudicator,) if self.resolved and self.resolved.adjudicator else ()
        return tuple(dict.fromkeys((*self.seen_by, *self.claimed_by, *adjudicator)))

    @property
    def free_at(self) -> datetime | None:
        """When another reviewer may have it; None for never."""
        if self.state is not ItemState.OPEN or len(self.seen_by) >= MAX_NAMES:
            return None
        if self.gold or len(self.claims) < self.slots - len(self.reviews):
            return ALWAYS
        return min((each.expire_time for each in self.claims), default=ALWAYS)

    def claim(self, reviewer: str, *, now: datetime, lasts: timedelta) -> Claim | None:
        """Return the claim of a reviewer, the one that holds or a new one; None where it has no place for them."""
        held = self.claim_of(reviewer)
        mine = reviewer in self.seen_by or reviewer == self.end_user
        if self.state is not ItemState.OPEN or mine or len(self.seen_by) >= MAX_NAMES:
            return None
        if held and held.expire_time > now:
            return held
        if not self._has_place(reviewer, now):
            return None
        number = str(int(now.timestamp() * 1000))
        made = Claim(id=derived_id(self.project, self.id, reviewer, number), reviewer=reviewer, expire_time=now + lasts)
        others = sorted((each for each in self.claims if each is not held), key=lambda each: each.expire_time)
        places = (MAX_NAMES if self.gold else self.slots - len(self.reviews)) - 1
        self.claims = (*others[max(0, len(others) - places) :], made)
        return made

    def claim_of(self, reviewer: str) -> Claim | None:
        """Return the last claim of a reviewer."""
        return next((each for each in self.claims if each.reviewer == reviewer), None)

    def submit(self, queue: ReviewQueue, review: Review, *, now: datetime) -> Review:
        """Record a review of a claim, and resolve the item with the last one; the same again changes nothing.

        A claim that expired is as good, unless others have taken its place.

        Raises:
            ReviewGiven: the claim has another review, or one of the reviewer was imported.
            ClaimExpired: the claim is not the reviewer's, or others have its place.

        """
        review = self._kept(review)
        if earlier := next((each for each in self.reviews if each.claim == review.claim), None):
            if earlier.reviewer != review.reviewer or values_of(earlier.labels) != values_of(review.labels):
                raise ReviewGiven(self.id)
            return earlier
        if any(each.reviewer == review.reviewer for each in self.reviews):
            raise ReviewGiven(self.id)
        held = self.claim_of(review.reviewer)
        if held is None or held.id != review.claim or self.state is not ItemState.OPEN:
            raise ClaimExpired(self.id)
        if not self._has_place(review.reviewer, now) or not self.add_review(queue, review, now=now):
            raise ClaimExpired(self.id)
        return review

    def add_review(self, queue: ReviewQueue, review: Review, *, now: datetime) -> bool:
        """Add a review, once a reviewer; the last one that is needed resolves the item, or makes it disputed.

        Return whether it is there: not of a reviewer who said something else or gave the item back, nor one too many.
        """
        if earlier := next((each for each in self.reviews if each.reviewer == review.reviewer), None):
            return values_of(earlier.labels) == values_of(self._kept(review).labels)
        full = len(self.seen_by) >= MAX_NAMES if self.gold else len(self.reviews) >= self.slots
        if review.reviewer in self.seen_by or full or self.state is not ItemState.OPEN:
            return False
        self.claims = tuple(each for each in self.claims if each.reviewer != review.reviewer)
        asked = () if self.gold else tuple(each.name for each in queue.spec.fields)
        self.reviews = (*self.reviews, replace(self._kept(review), asked=asked))
        if self.gold or len(self.reviews) < self.slots:
            return True
        decided = decide(
            queue.spec.fields,
            [each.labels for each in self.reviews],
            min_agreement=queue.spec.min_agreement,
            asked=[each.asked for each in self.reviews],
        )
        self.claims = ()
        if isinstance(decided, Dispute):
            self.state, self.message = ItemState.DISPUTED, decided.message
        else:
            self._resolve(decided, adjudicator="", now=now)
        return True

    def expect(self, labels: tuple[Label, ...]) -> bool:
        """Make it a gold item; return whether it is one with these labels: not where reviewers have been at it."""
        if values_of(labels) != values_of(self.expected):
            if self.state is not ItemState.OPEN or self.reviews or self.claims:
                return False
            self.expected = labels
        return True

    def release(self, reviewer: str, claim: str, *, now: datetime) -> None:
        """Give a claim back; the reviewer gets the item no more. Repeated, it changes nothing.

        What several reviewers gave back, and no other one has now, waits for an adjudicator.
        """
        held = self.claim_of(reviewer)
        if held is None or held.id != claim or self.state is not ItemState.OPEN:
            return
        self.claims = tuple(each for each in self.claims if each is not held)
        self.released_by = (*self.released_by, reviewer)
        live = any(each.expire_time > now for each in self.claims)
        if len(self.released_by) >= max(GIVEN_BACK, self.slots) and not live and not self.gold:
            self.claims, self.state = (), ItemState.DISPUTED
            self.message = f"{len(self.released_by)} reviewers gave it back"

    def adjudicate(self, labels: Sequence[Label], *, adjudicator: str, now: datetime) -> None:
        """Resolve it by a decision.

        Raises:
            NotReviewable: it is a gold item, or removed.

        """
        if self.gold or self.state is ItemState.REMOVED:
            raise NotReviewable(self.id, "is a gold item: what is right of it is known" if self.gold else "was removed")
        if self.resolved and self.resolved.labels == tuple(labels) and self.resolved.adjudicator == adjudicator:
            return
        self.claims = ()
        self._resolve(tuple(labels), adjudicator=adjudicator, now=now)

    def remove(self, *, now: datetime) -> None:
        """Erase what it is about and all that was said of it; a tombstone stays, which names nothing."""
        if self.resolved:
            self.pending.append(ReviewItemWasRemoved(occurred_at=now))
        self.deleted, self.state, self.message = True, ItemState.REMOVED, ""
        self.subject = Subject(kind=self.subject.kind, id="")
        self.end_user, self.documents, self.stratum, self.expected = "", (), "", ()
        self.claims, self.released_by, self.reviews, self.resolved = (), (), (), None

    def without_texts(self) -> "ReviewItem":
        """Return it with the labels that can be compared, which take little memory."""
        reviews = tuple(replace(each, labels=comparable(each.labels)) for each in self.reviews)
        resolved = self.resolved and replace(self.resolved, labels=comparable(self.resolved.labels))
        return replace(self, reviews=reviews, resolved=resolved, expected=comparable(self.expected))

    def restore(self, fresh: "ReviewItem") -> None:
        """Take up a removed item again, as another one about the same."""
        self.deleted, self.state, self.message = False, ItemState.OPEN, ""
        self.subject, self.reason, self.slots = fresh.subject, fresh.reason, fresh.slots
        self.end_user, self.documents, self.stratum = fresh.end_user, fresh.documents, fresh.stratum

    def forget_reviewer(self, reviewer: str, *, now: datetime) -> None:
        """Name a person no more: their claims and reviews go, and what is resolved stays without their name.

        A disputed item that lacks a review then is open again. What is resolved is reported again: a consumer
        that erased the person before the first event came would keep the name.
        """
        if self.state is ItemState.DISPUTED and any(each.reviewer == reviewer for each in self.reviews):
            self.state, self.message = ItemState.OPEN, ""
        self.claims = tuple(each for each in self.claims if each.reviewer != reviewer)
        self.reviews = tuple(each for each in self.reviews if each.reviewer != reviewer)
        self.released_by = tuple(each for each in self.released_by if each != reviewer)
        resolved = self.resolved
        if resolved and reviewer in (*resolved.reviewers, resolved.adjudicator):
            self.resolved = replace(
                resolved,
                reviewers=tuple(each for each in resolved.reviewers if each != reviewer),
                adjudicator="" if resolved.adjudicator == reviewer else resolved.adjudicator,
            )
            self.pending.append(ReviewItemWasResolved(occurred_at=now, resolved=self.resolved))

    def _kept(self, review: Review) -> Review:
        """Return what is stored of a review: of gold items, which may have many, what can be compared."""
        return replace(review, labels=comparable(review.labels)) if self.gold else review

    def _has_place(self, reviewer: str, now: datetime) -> bool:
        live = sum(each.expire_time > now and each.reviewer != reviewer for each in self.claims)
        return self.gold or len(self.reviews) + live < self.slots

    def _resolve(self, labels: tuple[Label, ...], *, adjudicator: str, now: datetime) -> None:
        by = tuple(each.reviewer for each in self.reviews)
        self.resolved = Resolution(labels=labels, reviewers=by, adjudicator=adjudicator, resolve_time=now)
        self.state, self.message = ItemState.RESOLVED, ""
        self.pending.append(ReviewItemWasResolved(occurred_at=now, resolved=self.resolved))
