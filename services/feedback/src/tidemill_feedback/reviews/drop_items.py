"""Remove the items of deleted queues."""

from dataclasses import dataclass

from tidemill_core.application import Request
from tidemill_feedback.errors import ReviewQueueNotFound
from tidemill_feedback.reviews.domain.queue import EndedQueue, QueueSpec, ReviewQueue
from tidemill_feedback.reviews.ports import Items, ReviewQueueStore


@dataclass(frozen=True, slots=True, kw_only=True)
class DropItems:
    """Idempotent; a queue that was created again meanwhile keeps the items of its own incarnation."""

    queues: ReviewQueueStore
    items: Items

    async def __call__(self, ended: EndedQueue) -> None:
        """Remove what is left of a queue's deleted incarnations.

        Raises:
            Conflict: events of some items are not published yet: it is tried again.

        """
        while await self.items.drop(ended):
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
