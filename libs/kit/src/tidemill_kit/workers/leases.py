"""Leased jobs: one worker at a time, and one that slept through its lease changes nothing.

A lease is the field `lease: {owner, epoch, expires_at}` of the document `{_id: job_id}`; the epoch grows with every
holder. A worker makes each of its writes conditional on its epoch:

- into the job's own document: `update_one(lease.guard, {"$set": {"progress": ...}})`;
- into other documents, which keep the epoch of their last writer in `epoch`:
  `update_one({"_id": entry, **lease.fence}, {"$set": {..., "epoch": lease.epoch}})`.

Where `matched_count` is 0 a later holder was there: raise `LeaseLost` and let it do the work.

A lease document is removed a day after its lease ended, where it holds nothing else. The next one begins with an epoch
above every earlier one: that of the clock, in milliseconds, which grows faster than holders can follow one another.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from tidemill_core.application import Clock
from tidemill_core.errors import Conflict, DependencyUnavailable
from tidemill_kit.store.mongo import Collection, Document, DuplicateId, ids_of, translated

_HEARTBEATS_PER_TTL = 3
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_REMOVED_AFTER = timedelta(days=1)
"""Much longer than clocks differ, and than a worker that lost its lease goes on."""


class LeaseLost(Conflict):
    """The lease ran out or another process holds it: what was not written yet is theirs to do."""

    reason = "LEASE_LOST"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"the lease of job {job_id} is lost: another worker goes on with it", job=job_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to work on one job until `expires_at`, or longer if it is renewed."""

    job_id: str
    owner: str
    epoch: int
    expires_at: datetime

    @property
    def guard(self) -> dict[str, Any]:
        """Filter of the job's document that matches only while no other worker took the job."""
        return {"_id": self.job_id, "lease.epoch": self.epoch}

    @property
    def fence(self) -> dict[str, Any]:
        """Filter of another document that matches only while no later holder wrote it; without `epoch` none did."""
        return {"epoch": {"$not": {"$gt": self.epoch}}}


class Leases:
    """Leases of one kind of job. `owner` names this worker and is new with each start."""

    def __init__(  # noqa: PLR0913 - leases are made of their parts, once for each kind of job
        self,
        collection: Collection,
        *,
        owner: str,
        ttl: timedelta,
        clock: Clock,
        removable: bool = False,
        deleted: Callable[[str], bool] | None = None,
    ) -> None:
        """Prepare; `removable` says that the collection holds leases alone, which MongoDB may remove when they end.

        Those of projects that are `deleted` are removed at once, so that nothing of an erased project comes back.
        """
        self._deleted = deleted or (lambda _: False)
        self._to_index = removable
        self._removable = removable
        self._collection = collection
        self._owner = owner
        self._ttl = ttl
        self._clock = clock

    async def acquire(self, job_id: str) -> Lease | None:
        """Take the job if no worker holds it; its former holder is fenced out from then on."""
        now = self._clock.now()
        if self._to_index:
            with translated():
                await self._collection.create_index(
                    "lease.expires_at", expireAfterSeconds=int(_REMOVED_AFTER.total_seconds())
                )
            self._to_index = False
        ours = {"lease.owner": self._owner, "lease.expires_at": now + self._ttl}
        free = {"$or": [{"lease.expires_at": {"$lte": now}}, {"lease": {"$exists": False}}]}
        with translated():
            before = cast(  # motor's stub forgets that there may be none
                "Document | None",
                await self._collection.find_one_and_update(
                    {"_id": job_id, **free}, {"$set": ours, "$inc": {"lease.epoch": 1}}
                ),
            )
        if before is not None:
            epoch = before["lease"]["epoch"] + 1 if "lease" in before else 1
        else:
            epoch = int(now.timestamp() * 1000) if self._removable else 1
            if not await self._started(job_id, epoch, expires_at=now + self._ttl):
                return None
        return Lease(job_id=job_id, owner=self._owner, epoch=epoch, expires_at=now + self._ttl)

    async def busy(self, project: str) -> bool:
        """Return whether a worker holds a job of a project, whose ids begin with `<project>/`."""
        held = {**ids_of(project), "lease.expires_at": {"$gt": self._clock.now()}}
        with translated():
            found = await self._collection.find_one(held, {"_id": True})
        return found is not None

    async def renew(self, lease: Lease) -> bool:
        """Prolong the lease by the whole term; False if it ran out, even if no other worker took it yet."""
        now = self._clock.now()
        return await self._set_expiry({**lease.guard, "lease.expires_at": {"$gt": now}}, now + self._ttl)

    async def release(self, lease: Lease) -> None:
        """Give the job back, so that the next one need not wait; the epoch stays counted."""
        if self._removable and self._deleted(lease.job_id.partition("/")[0]):
            with translated():
                await self._collection.delete_one(lease.guard)
            return
        await self._set_expiry(lease.guard, self._clock.now() if self._removable else _LONG_AGO)

    @asynccontextmanager
    async def held(self, job_id: str) -> AsyncIterator[Lease | None]:
        """Hold the job's lease while the body runs; yields None if another process holds it.

        Heartbeats prolong it. When they no longer can, because it was lost or MongoDB did not answer for a whole term,
        the body is cancelled where it waits.

        Raises:
            LeaseLost: in place of that cancellation.

        """
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        lease = await self.acquire(job_id)
        if lease is None:
            yield None
            return
        limit = asyncio.timeout_at(asked_at + self._ttl.total_seconds())
        heartbeats: asyncio.Task[None] | None = None
        try:
            async with limit:
                heartbeats = asyncio.create_task(self._prolong(lease, limit))
                yield lease
        except TimeoutError as error:
            if limit.expired():
                raise LeaseLost(job_id) from error
            raise
        finally:
            if heartbeats is not None:
                heartbeats.cancel()
            with suppress(DependencyUnavailable):  # then it runs out by itself
                await self.release(lease)

    async def _prolong(self, lease: Lease, limit: asyncio.Timeout) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._ttl.total_seconds() / _HEARTBEATS_PER_TTL)
            asked_at = loop.time()
            try:
                renewed = await self.renew(lease)
            except DependencyUnavailable:
                continue
            if limit.expired():
                return
            limit.reschedule(asked_at + self._ttl.total_seconds() if renewed else asked_at)
            if not renewed:
                return

    async def _started(self, job_id: str, epoch: int, *, expires_at: datetime) -> bool:
        lease = {"owner": self._owner, "epoch": epoch, "expires_at": expires_at}
        try:
            with translated():
                await self._collection.insert_one({"_id": job_id, "lease": lease})
        except DuplicateId:
            return False
        return True

    async def _set_expiry(self, expected: dict[str, Any], expires_at: datetime) -> bool:
        with translated():
            result = await self._collection.update_one(expected, {"$set": {"lease.expires_at": expires_at}})
        return result.matched_count == 1
