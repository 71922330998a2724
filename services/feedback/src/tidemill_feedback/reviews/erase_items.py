"""Remove the items about an end user or a document, and the name of a person from what they did."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from tidemill_core.application import Caller, Clock, Request
from tidemill_feedback.errors import ReviewItemNotFound
from tidemill_feedback.reviews.domain.item import ReviewItem
from tidemill_feedback.reviews.ports import Items, ReviewItemStore

_BATCH_SIZE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseItems:
    """Emits ReviewItemWasRemoved of resolved items, or ReviewItemWasResolved again where they named the person.

    Tombstones stay, which name nothing; each call erases a batch and returns how many that were.
    """

    items: ReviewItemStore
    find: Items
    clock: Clock

    async def of_end_user(self, caller: Caller, end_user: str) -> int:
        """Remove some items about what a person asked, or the person's name from some."""
        found = await self.find.of_end_user(caller.project, end_user, limit=_BATCH_SIZE)
        if found:
            return await self._change(caller, found, self._remove)
        found = await self.find.naming(caller.project, end_user, limit=_BATCH_SIZE)
        now = self.clock.now()
        return await self._change(caller, found, lambda item: item.forget_reviewer(end_user, now=now))

    async def of_document(self, caller: Caller, document: str) -> int:
        """Remove some items about a document, or about what has passages of it."""
        found = await self.find.of_document(caller.project, document, limit=_BATCH_SIZE)
        return await self._change(caller, found, self._remove)

    async def before(self, caller: Caller, moment: datetime) -> int:
        """Remove some items that were added earlier and have not changed since."""
        found = await self.find.old(caller.project, before=moment, limit=_BATCH_SIZE)

        def remove(item: ReviewItem) -> None:
            if item.update_time and item.update_time < moment:
                self._remove(item)

        return await self._change(caller, found, remove)

    def _remove(self, item: ReviewItem) -> None:
        item.remove(now=self.clock.now())

    async def _change(self, caller: Caller, ids: Sequence[str], change: Callable[[ReviewItem], None]) -> int:
        for each in ids:
            with suppress(ReviewItemNotFound):  # removed meanwhile, with its queue
                await self.items.update(caller.project, each, change, request=Request.internal())
        return len(ids)
