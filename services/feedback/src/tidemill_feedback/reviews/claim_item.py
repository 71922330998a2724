"""Give a reviewer the next item of a queue, and take one back."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

from tidemill_core import resources
from tidemill_core.application import Caller, Clock, Request
from tidemill_core.resources import Write
from tidemill_core.rights import REVIEW_FEEDBACK, has_right
from tidemill_feedback.errors import NotReviewable, NotReviewer, ReviewItemNotFound
from tidemill_feedback.reviews.domain.item import Claim, ReviewItem
from tidemill_feedback.reviews.domain.queue import ReviewQueue
from tidemill_feedback.reviews.domain.sampling import fraction_of
from tidemill_feedback.reviews.ports import Items, ReviewItemStore, ReviewQueueStore

_CANDIDATES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """An item, and the claim of it; the claim has no id where it was only asked for."""

    item: ReviewItem
    claim: Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimItem:
    """A reviewer has one item of a queue at a time: a repeated call returns the same claim while it holds.

    Items lie on a ring, and each reviewer goes round it from a place of their own: the order is as good as random,
    differs by reviewer, and says nothing of what others did.
    """

    queues: ReviewQueueStore
    items: ReviewItemStore
    find: Items
    clock: Clock
    draw: Callable[[], float]
    """Returns a random number from 0 up to 1: below the queue's share, a gold item is next."""

    async def __call__(self, caller: Caller, queue_id: str, write: Write) -> Claimed | None:
        """Return the claim; None where the queue has no item for the caller now.

        Raises:
            ReviewQueueNotFound: the caller's project has no such queue.
            NotReviewable: the queue is paused.
            NotReviewer: the caller has not the right to review.

        """
        reviewer = reviewer_of(caller)
        queue = await self.queues.get(caller.project, queue_id)
        if queue.spec.paused:
            raise NotReviewable(queue.id, "is paused: nothing is reviewed until it is resumed")
        async for item_id in self._candidates(queue, reviewer):
            if claimed := await self._claim(queue, item_id, reviewer, write):
                return claimed
        return None

    async def _candidates(self, queue: ReviewQueue, reviewer: str) -> AsyncIterator[str]:
        for item_id in await self.find.claimed(queue.project, queue.key, reviewer):
            yield item_id
        gold_first = queue.spec.gold_share > 0 and self.draw() < queue.spec.gold_share
        for gold in (True, False) if gold_first else (False,):
            start = fraction_of(queue.project, queue.key, reviewer)
            found = await self.find.free(
                queue.project, queue.key, reviewer, start=start, gold=gold, now=self.clock.now(), limit=_CANDIDATES
            )
            for item_id in found:
                yield item_id

    async def _claim(self, queue: ReviewQueue, item_id: str, reviewer: str, write: Write) -> Claimed | None:
        now = self.clock.now()

        def change(item: ReviewItem) -> None:
            item.claim(reviewer, now=now, lasts=queue.claim_time)

        try:
            item = await resources.update(
                self.items, queue.project, item_id, change, replace(write, request=Request.internal())
            )
        except ReviewItemNotFound:
            return None  # removed meanwhile
        held = item.claim_of(reviewer)
        if held is None or held.expire_time <= now or reviewer in item.seen_by:
            return None
        return Claimed(item=item, claim=replace(held, id="") if write.validate_only else held)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseItem:
    """Emits nothing: the item is free for others, and its reviewer gets it no more."""

    items: ReviewItemStore
    clock: Clock

    async def __call__(self, caller: Caller, item_id: str, claim: str, write: Write) -> ReviewItem:
        """Return the item; a claim that is not held any more changes nothing.

        Raises:
            ReviewItemNotFound: the caller's project has none with this id.
            NotReviewer: the caller has not the right to review.

        """
        reviewer, now = reviewer_of(caller), self.clock.now()
        return await resources.update(
            self.items, caller.project, item_id, lambda item: item.release(reviewer, claim, now=now), write
        )


def reviewer_of(caller: Caller) -> str:
    """Return the name of a reviewer: the subject of the credential.

    Raises:
        NotReviewer: it has not the right to review.

    """
    if not caller.subject or not has_right(caller, REVIEW_FEEDBACK):
        raise NotReviewer
    return caller.subject
