"""Delete the collections of a deleted project, with all their passages."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tidemill_core.application import Caller, Clock, Request
from tidemill_core.errors import NotFound
from tidemill_core.resources import list_all
from tidemill_rag.collections.ports import Collections, Enqueue

REFUSED_WITHIN: Final = timedelta(seconds=5)
"""Time until every service refuses the tokens of a deleted project."""
_MAX_PAUSE: Final = timedelta(seconds=15)
"""Longest wait for that; a clock of another machine may be wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseProject:
    """Emits CollectionDeleted. The controller of index versions deletes the passages and the ledger. Idempotent.

    Collections are deleted again once no service accepts the project's tokens: one may have been created meanwhile.
    """

    collections: Collections
    clock: Clock
    enqueue: Enqueue
    pause: Callable[[float], Awaitable[None]]

    async def __call__(self, caller: Caller, *, revoke_time: datetime) -> None:
        """Delete everything of the caller's project, whose tokens were revoked at `revoke_time`."""
        await self._delete_all(caller.project)
        left = min(revoke_time + REFUSED_WITHIN - self.clock.now(), _MAX_PAUSE)
        if left > timedelta(0):
            await self.pause(left.total_seconds())
            await self._delete_all(caller.project)

    async def _delete_all(self, project: str) -> None:
        async for collection in list_all(self.collections, project):
            with suppress(NotFound):  # deleted meanwhile
                deleted = await self.collections.update(
                    project,
                    collection.id,
                    lambda stored: stored.delete(now=self.clock.now()),
                    request=Request.internal(),
                )
                for index in deleted.indexes:
                    self.enqueue(deleted.ref(index.number))
