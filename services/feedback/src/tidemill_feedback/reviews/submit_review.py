"""Submit a review of a claimed item."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_core import resources
from tidemill_core.application import Caller, Clock
from tidemill_core.resources import Write, refuse
from tidemill_feedback.reviews.claim_item import reviewer_of
from tidemill_feedback.reviews.domain.item import Review, ReviewItem
from tidemill_feedback.reviews.domain.labels import Label, in_order, label_violations
from tidemill_feedback.reviews.ports import ReviewItemStore, ReviewQueueStore
from tidemill_feedback.reviews.store_item import queue_of


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitReview:
    """Emits ReviewItemWasResolved with the last review that is needed, if enough of them agree. Idempotent by claim."""

    queues: ReviewQueueStore
    items: ReviewItemStore
    clock: Clock

    async def __call__(self, caller: Caller, item_id: str, claim: str, labels: Sequence[Label], write: Write) -> Review:
        """Return the review as recorded, or as it would be.

        Raises:
            ReviewItemNotFound: the caller's project has none with this id.
            InvalidInput: the labels are not those of the queue.
            ReviewGiven: another review was submitted for the claim.
            ClaimExpired: others have the place of the claim.
            NotReviewer: the caller has not the right to review.

        """
        reviewer, now = reviewer_of(caller), self.clock.now()
        queue = await queue_of(self.queues, await self.items.get(caller.project, item_id))
        refuse(label_violations("labels", labels, queue.spec.fields))
        said = in_order(labels, queue.spec.fields)
        review = Review(claim=claim, reviewer=reviewer, labels=said, submit_time=now)

        def change(item: ReviewItem) -> None:
            item.submit(queue, review, now=now)

        item = await resources.update(self.items, caller.project, item_id, change, write)
        return next((each for each in item.reviews if each.claim == claim), review)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdjudicateItem:
    """Emits ReviewItemWasResolved: a decision counts in place of the reviews, which stay."""

    queues: ReviewQueueStore
    items: ReviewItemStore
    clock: Clock

    async def __call__(self, caller: Caller, item_id: str, labels: Sequence[Label], write: Write) -> ReviewItem:
        """Return the resolved item, or as it would be.

        Raises:
            ReviewItemNotFound: the caller's project has none with this id.
            InvalidInput: the labels are not those of the queue.
            NotReviewable: it is a gold item.
            Conflict: it changed since the etag.

        """
        now, queue = self.clock.now(), await queue_of(self.queues, await self.items.get(caller.project, item_id))
        refuse(label_violations("labels", labels, queue.spec.fields))
        decided = in_order(labels, queue.spec.fields)

        def change(item: ReviewItem) -> None:
            item.adjudicate(decided, adjudicator=caller.subject, now=now)

        return await resources.update(self.items, caller.project, item_id, change, write)
