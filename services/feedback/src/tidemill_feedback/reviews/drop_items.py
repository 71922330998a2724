"""Remove the items of deleted queues."""

from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from tidemill_core.application import Clock, Request
from tidemill_feedback.errors import ReviewItemNotFound, ReviewQueueNotFound
from tidemill_feedback.reviews.domain.item import ReviewItem
from tidemill_feedback.reviews.domain.queue import EndedQueue, QueueSpec, ReviewQueue
from tidemill_feedback.reviews.ports import Items, ReviewItemStore, ReviewQueueStore


@dataclass(frozen=True, slots=True, kw_only=True)
class DropItems:
    """Emits ReviewItemWasRemoved of resolved items. Idempotent.

    A queue that was created again meanwhile keeps the items of its own incarnation.
    """

    queues: ReviewQueueStore
    items: ReviewItemStore
    find: Items
    clock: Clock

    async def __call__(self, ended: EndedQueue) -> None:
        """Remove what is left of a queue's deleted incarnations.

        Raises:
            Conflict: events of some items are not published yet: it is tried again.

        """
        while await self._report_removed(ended) or await self.find.drop(ended):
            pass

        def finish(queue: ReviewQueue) -> None:
            if not queue.version:
                raise ReviewQueueNotFound(queue.id)
            if queue.ended == ended.until:
                queue.dropping = False

        unknown = ReviewQueue(id=ended.queue, project=ended.project, spec=QueueSpec(fields=()))
        try:
            await self.queues.upsert(unknown, finish, request=Request.internal())
        except ReviewQueueNotFound:
            return  # its project was erased

    async def _report_removed(self, ended: EndedQueue) -> int:
        """Remove some resolved items, also those that a review in progress resolved since; their rows follow."""
        resolved = await self.find.resolved(ended)
        for each in resolved:
            remove = partial(ReviewItem.remove, now=self.clock.now())
            with suppress(ReviewItemNotFound):  # removed meanwhile
                await self.items.update(ended.project, each, remove, request=Request.internal())
        return len(resolved)
