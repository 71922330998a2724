"""Use cases: create, get, list, update and delete review queues, and list their items."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, replace
from typing import Final

from tidemill_core import resources
from tidemill_core.application import Caller, Page, PageRequest
from tidemill_core.resources import Write
from tidemill_feedback.reviews.domain.item import ItemState, ReviewItem
from tidemill_feedback.reviews.domain.queue import EndedQueue, QueueSpec, ReviewQueue
from tidemill_feedback.reviews.ports import Enqueue, ReviewItemStore, ReviewQueueStore

CHANGEABLE: Final = frozenset(each.name for each in fields(QueueSpec))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewQueueCrud:
    """Emits nothing. The items of a deleted queue are removed in the background; its id may be taken again at once."""

    queues: ReviewQueueStore
    items: ReviewItemStore
    enqueue: Enqueue

    async def get(self, caller: Caller, queue_id: str) -> ReviewQueue:
        """Return one queue.

        Raises:
            ReviewQueueNotFound: the caller's project has none with this id.

        """
        return await self.queues.get(caller.project, queue_id)

    async def list(self, caller: Caller, page: PageRequest) -> Page[ReviewQueue]:
        """Return a page."""
        return await self.queues.list(caller.project, page=page)

    async def list_items(
        self, caller: Caller, queue_id: str, page: PageRequest, *, state: ItemState | None = None
    ) -> Page[ReviewItem]:
        """Return a page of a queue's items.

        Raises:
            ReviewQueueNotFound: the caller's project has none with this id.

        """
        queue = await self.queues.get(caller.project, queue_id)
        where = {"queue_key": queue.key} | ({"state": state.value} if state else {})
        return await self.items.list(caller.project, page=page, where=where)

    async def create(self, caller: Caller, queue_id: str, spec: QueueSpec, write: Write) -> ReviewQueue:
        """Return the queue as created, or as it would be.

        Raises:
            ReviewQueueExists: the id is taken.
            InvalidInput: something in the spec is wrong.

        """
        spec.check(queue_id)
        fresh = ReviewQueue(id=queue_id, project=caller.project, spec=spec)
        return await resources.create(self.queues, fresh, write, begin=lambda queue: queue.begin(spec))

    async def update(
        self, caller: Caller, queue_id: str, spec: QueueSpec, paths: AbstractSet[str], write: Write
    ) -> ReviewQueue:
        """Return the queue with the parts of the spec that `paths` name, or as it would be.

        Items that are there need as many reviews as when they were added.

        Raises:
            ReviewQueueNotFound: the caller's project has none with this id.
            Conflict: it changed since the etag.
            InvalidInput: something in the spec is wrong, or reviews that there are would not fit.

        """

        def change(queue: ReviewQueue) -> None:
            changed = replace(queue.spec, **{name: getattr(spec, name) for name in paths})
            changed.check(queue.id)
            queue.configure(changed)

        return await resources.update(self.queues, caller.project, queue_id, change, write)

    async def delete(self, caller: Caller, queue_id: str, write: Write) -> ReviewQueue:
        """Return the queue as deleted: its items follow.

        Raises:
            ReviewQueueNotFound: the caller's project has none with this id.
            Conflict: it changed since the etag.

        """

        def end(queue: ReviewQueue) -> None:
            queue.dropping = True

        deleted = await resources.delete(self.queues, caller.project, queue_id, write, change=end)
        if not write.validate_only:
            self.enqueue(EndedQueue(caller.project, queue_id, deleted.incarnations))
        return deleted
