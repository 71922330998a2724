"""Store an item, unless what it is about was erased or its queue deleted meanwhile."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from tidemill_core.application import Request, derived_id
from tidemill_feedback.errors import ReviewItemNotFound, ReviewQueueNotFound
from tidemill_feedback.reviews.domain.item import ReviewItem, Subject
from tidemill_feedback.reviews.domain.queue import ReviewQueue
from tidemill_feedback.reviews.domain.sampling import RecordedAnswer, fraction_of
from tidemill_feedback.reviews.ports import Erased, ReviewItemStore, ReviewQueueStore


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreItem:
    """Asks for erasures and the queue after the item is stored, too: one that ended meanwhile may not have seen it.

    Of a queue that was deleted before, nothing is stored: its items may have been removed already.
    """

    queues: ReviewQueueStore
    items: ReviewItemStore
    erased: Erased

    async def __call__(
        self, fresh: ReviewItem, change: Callable[[ReviewItem], None], *, request: Request, known_at: datetime
    ) -> ReviewItem:
        """Return the item as stored; `known_at` is when what it names was read or reported."""
        if not await self._has_queue(fresh):
            fresh.remove(now=known_at)
            return fresh
        stored = await self.items.upsert(fresh, change, request=request)
        if await self.is_erased(fresh, known_at) or not await self._has_queue(fresh):
            with suppress(ReviewItemNotFound):  # removed meanwhile
                remove = partial(ReviewItem.remove, now=known_at)
                await self.items.update(stored.project, stored.id, remove, request=Request.internal())
            stored.remove(now=known_at)
        return stored

    async def is_erased(self, item: ReviewItem, known_at: datetime) -> bool:
        """Return whether what the item is about was erased since it was known."""
        until = await self.erased(item.project, item.end_user, item.documents)
        return until is not None and known_at <= until

    async def _has_queue(self, item: ReviewItem) -> bool:
        try:
            await queue_of(self.queues, item)
        except (ReviewQueueNotFound, ReviewItemNotFound):
            return False
        return True


async def queue_of(queues: ReviewQueueStore, item: ReviewItem) -> ReviewQueue:
    """Return the queue of an item.

    Raises:
        ReviewQueueNotFound: it was deleted.
        ReviewItemNotFound: it was deleted and created again: the item is about to be removed.

    """
    queue = await queues.get(item.project, item.queue)
    if queue.incarnations != item.incarnation:
        raise ReviewItemNotFound(item.id)
    return queue


def item_of(queue: ReviewQueue, subject: Subject, answer: RecordedAnswer | None, *, reason: str) -> ReviewItem:
    """Return a new item; `answer` is what it is about, or what the example was made from."""
    item_id = derived_id(queue.project, queue.key, subject.kind.value, subject.dataset, subject.id)
    return ReviewItem(
        id=item_id,
        project=queue.project,
        queue=queue.id,
        incarnation=queue.incarnations,
        subject=subject,
        reason=reason,
        place=fraction_of(item_id),
        slots=queue.slots,
        end_user=answer.end_user if answer else "",
        documents=answer.documents if answer else (subject.id,),
        stratum=answer.stratum if answer else "",
    )
