"""A lock that ties a database to one directory of vectors: the ledger would not match those of another directory."""

import asyncio
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from tidemill_core.application import Clock
from tidemill_core.errors import DependencyUnavailable, PreconditionFailed
from tidemill_kit.store.mongo import Collection, translated, update_or_insert
from tidemill_kit.workers.worker import Worker

_ID = "edge-store"
_BEATS = 3


class StoreHeld(PreconditionFailed):
    """Another process has vectors of this database in another directory."""

    reason = "STORE_HELD"

    def __init__(self) -> None:
        super().__init__(
            "another rag process stores the vectors of this database in its own directory: run one process only, "
            "or set RAG_VECTOR_STORE=server to share one store between processes"
        )


class EdgeHold(Worker):
    """Holds the lock while the process runs; fails if it expired and another directory acquired it.

    The holder is the directory, by an id stored in it, so that a restarted process does not wait for the expiry.
    """

    def __init__(self, holds: Collection, folder: Path, *, ttl: timedelta, clock: Clock) -> None:
        super().__init__("edge-hold", self._beat)
        self._holds = holds
        self._folder = folder
        self._ttl = ttl
        self._clock = clock
        self._store = ""

    async def start(self) -> None:
        """Acquire the lock.

        Raises:
            StoreHeld: another directory holds it.
            DependencyUnavailable: MongoDB does not respond.

        """
        self._store = await asyncio.to_thread(_id_of, self._folder)
        if not await self._held():
            raise StoreHeld
        await super().start()

    async def stop(self) -> None:
        """Release the lock."""
        if self._task is None:
            return
        await super().stop()
        with translated():
            await self._holds.update_one({"_id": _ID, "store": self._store}, {"$set": {"until": self._clock.now()}})

    async def _held(self) -> bool:
        now = self._clock.now()
        free = {"_id": _ID, "$or": [{"store": self._store}, {"until": {"$lte": now}}]}
        return await update_or_insert(self._holds, free, {"$set": {"store": self._store, "until": now + self._ttl}})

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._ttl.total_seconds() / _BEATS)
            try:
                if not await self._held():
                    raise StoreHeld
            except DependencyUnavailable:
                continue


def _id_of(folder: Path) -> str:
    """Return the directory's id; create it on first use."""
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / "store-id"
    if not place.exists():
        place.write_text(str(uuid4()), encoding="ascii")
    return place.read_text(encoding="ascii")
