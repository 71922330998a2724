"""Add items that a caller names, gold items, and reviews that were given elsewhere."""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tidemill_core.application import Caller, Clock, derived_id
from tidemill_core.errors import InvalidInput, NotFound, PreconditionFailed, Violation
from tidemill_core.resources import Write, line_violations, refuse, slug_violations
from tidemill_feedback.errors import ReviewQueueFull
from tidemill_feedback.reviews.domain.item import (
    GIVEN,
    MAX_NAMES,
    ItemState,
    Review,
    ReviewItem,
    Subject,
    SubjectKind,
)
from tidemill_feedback.reviews.domain.labels import Label, in_order, label_violations
from tidemill_feedback.reviews.domain.queue import ReviewQueue
from tidemill_feedback.reviews.domain.sampling import RecordedAnswer
from tidemill_feedback.reviews.ports import Answers, Items, ReviewItemStore, ReviewQueueStore
from tidemill_feedback.reviews.store_item import StoreItem, item_of

MAX_ITEMS: Final = 100
MAX_ID_CHARS: Final = 200
_MAX_CONCURRENT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenReview:
    """What a reviewer said elsewhere."""

    reviewer: str
    labels: tuple[Label, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenItem:
    """An item as a caller names it."""

    subject: Subject
    expected: tuple[Label, ...] = ()
    reviews: tuple[GivenReview, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AddItems:
    """Emits ReviewItemWasResolved of items that imported reviews resolve. Idempotent: ids come from what items name.

    An inference is read to know whose it is and which documents it shows, so that its item is erased with them.
    """

    queues: ReviewQueueStore
    items: ReviewItemStore
    find: Items
    store: StoreItem
    answers: Answers
    clock: Clock

    async def __call__(
        self, caller: Caller, queue_id: str, given: Sequence[GivenItem], write: Write
    ) -> Sequence[ReviewItem]:
        """Return the items as they are now, or would be.

        Raises:
            ReviewQueueNotFound: the caller's project has no such queue.
            ReviewQueueFull: they would exceed its open items.
            InvalidInput: something is wrong with them, all violations at once.
            DependencyUnavailable: inference does not answer.

        """
        now, queue = self.clock.now(), await self.queues.get(caller.project, queue_id)
        refuse(_violations(queue, given))
        answers = await self._answers(caller, {_inference(each.subject): place for place, each in enumerate(given)})
        fresh = [item_of(queue, each.subject, answers.get(_inference(each.subject)), reason=GIVEN) for each in given]
        existing = await self.items.get_many(caller.project, [each.id for each in fresh])
        tried = [deepcopy(existing.get(each.id, each)) for each in fresh]
        refuse(bad for n, item in enumerate(tried) for bad in _given(queue, item, fresh[n], given[n], now=now, place=n))
        await self._check_limit(queue, [each for each in tried if each.id not in existing])
        if write.validate_only:
            return tried
        added = []
        for place, (item, said) in enumerate(zip(fresh, given, strict=True)):

            def change(stored: ReviewItem, item: ReviewItem = item, said: GivenItem = said, place: int = place) -> None:
                refuse(_given(queue, stored, item, said, now=now, place=place))

            added.append(await self.store(item, change, request=write.request, known_at=now))
        return added

    async def _answers(self, caller: Caller, requested: Mapping[str, int]) -> Mapping[str, RecordedAnswer]:
        """Return what is known of inferences; `requested` has the place of an item that names each."""
        places, gate = {name: place for name, place in requested.items() if name}, asyncio.Semaphore(_MAX_CONCURRENT)

        async def read(inference: str, place: int) -> RecordedAnswer | Violation:
            async with gate:
                try:
                    return await self.answers.read(caller, inference)
                except (NotFound, PreconditionFailed) as error:
                    return Violation(f"items[{place}].subject", error.message)

        found = await asyncio.gather(*(read(name, place) for name, place in places.items()))
        if refused := [each for each in found if isinstance(each, Violation)]:
            raise InvalidInput.of(*refused)
        return {name: each for name, each in zip(places, found, strict=True) if isinstance(each, RecordedAnswer)}

    async def _check_limit(self, queue: ReviewQueue, new: Collection[ReviewItem]) -> None:
        limit = queue.spec.open_limit
        new = [each for each in new if each.state is ItemState.OPEN and not each.gold]
        if new and await self.find.open(queue.project, queue.key, limit=limit) + len(new) > limit:
            raise ReviewQueueFull(queue.id, limit=limit)


def _given(  # noqa: PLR0913 - what is given of which item, and where it is named
    queue: ReviewQueue, stored: ReviewItem, fresh: ReviewItem, said: GivenItem, *, now: datetime, place: int
) -> Iterator[Violation]:
    """Make an item of what a caller gave, or add reviews to the one that is there; yield what it does not take."""
    fields = queue.spec.fields
    if stored.deleted:
        stored.restore(fresh)
    if said.expected and not stored.expect(in_order(said.expected, fields)):
        text = "are given of an item that was reviewed, claimed or resolved: it becomes no gold item"
        yield Violation(f"items[{place}].expected", text)
    for number, each in enumerate(said.reviews):
        claim = derived_id(stored.project, stored.id, each.reviewer, "given")
        labels = in_order(each.labels, fields)
        review = Review(claim=claim, reviewer=each.reviewer, labels=labels, submit_time=now)
        if not stored.add_review(queue, review, now=now):
            text = (
                f"is not taken: the item has {len(stored.reviews)} of {MAX_NAMES if stored.gold else stored.slots} "
                "reviews, is resolved, or its reviewer gave it back or another review: leave it out"
            )
            yield Violation(f"items[{place}].reviews[{number}]", text)


def _inference(subject: Subject) -> str:
    """Return the inference whose user and documents are those of a subject; "" of a document."""
    return {SubjectKind.INFERENCE: subject.id, SubjectKind.EXAMPLE: subject.inference}.get(subject.kind, "")


def _violations(queue: ReviewQueue, given: Sequence[GivenItem]) -> Iterator[Violation]:
    if not 1 <= len(given) <= MAX_ITEMS:
        yield Violation("items", f"has {len(given)} entries; send 1 to {MAX_ITEMS} in a call")
    for place, each in enumerate(given[:MAX_ITEMS]):
        yield from _item_violations(queue, f"items[{place}]", each)


def _item_violations(queue: ReviewQueue, place: str, given: GivenItem) -> Iterator[Violation]:
    subject, fields = given.subject, queue.spec.fields
    yield from _subject_violations(f"{place}.subject", subject)
    yield from label_violations(f"{place}.expected", given.expected, fields, complete=False)
    for number, review in enumerate(given.reviews):
        at = f"{place}.reviews[{number}]"
        if not review.reviewer:
            yield Violation(f"{at}.reviewer", "is empty; name whose review it is")
        yield from line_violations(f"{at}.reviewer", review.reviewer, limit=MAX_ID_CHARS)
        yield from label_violations(f"{at}.labels", review.labels, fields)


def _subject_violations(place: str, subject: Subject) -> Iterator[Violation]:
    example = subject.kind is SubjectKind.EXAMPLE
    if not subject.id:
        yield Violation(f"{place}.id", "is empty; name what is to be reviewed")
    for name in ("id", "inference"):
        yield from line_violations(f"{place}.{name}", getattr(subject, name), limit=MAX_ID_CHARS)
    if example:
        yield from slug_violations(f"{place}.dataset", subject.dataset)
        if not subject.inference:
            yield Violation(f"{place}.inference", "is empty; name the inference that the example was made from")
    elif subject.dataset or subject.inference:
        yield Violation(f"{place}.dataset", "and inference are of examples only: leave them out")
