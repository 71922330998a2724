"""Aggregates that are read far more often than they change: what was read a moment ago is read again from memory."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from cachetools import LRUCache

from tidemill_core.aggregate import Aggregate
from tidemill_core.application import Aggregates, Page, PageRequest, Request, Where
from tidemill_core.single_flight import SingleFlight

A = TypeVar("A", bound=Aggregate)

_MAX_KEPT = 1000
_AHEAD = 0.5
"""The part of its time after which what is in use is read again, beside its readers: none has to wait for that."""


class RecentAggregates(Generic[A]):
    """Implements `application.Aggregates` by others, for those who change them and for who must see the latest state.

    `recent` is for those who only read: they see a change made here at once, one made elsewhere after `max_age_s`, and
    change nothing of what they get. A `max_age_s` of 0 keeps nothing. Of several who read at the same time one asks,
    and what is read again and again is read from the store beside that, before its time is over.
    """

    def __init__(
        self,
        aggregates: Aggregates[A],
        *,
        max_age_s: float,
        max_kept: int = _MAX_KEPT,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._aggregates = aggregates
        self._max_age_s = max_age_s
        self._monotonic = monotonic
        self._kept: LRUCache[tuple[str, str], tuple[A, float]] = LRUCache(max_kept)
        self._reading = SingleFlight[tuple[str, str], A]("read aggregate")

    async def recent(self, project: str, aggregate_id: str) -> A:
        """Return the aggregate as it was at most `max_age_s` ago.

        Raises:
            NotFound: the project has none with this id, or it was deleted.

        """
        key, now = (project, aggregate_id), self._monotonic()
        read = partial(self._read, key)
        found, until = self._kept.get(key, (None, 0.0))
        if found is not None and now < until:
            if now >= until - (1 - _AHEAD) * self._max_age_s:
                self._reading.begin(key, read)
            return found
        return await self._reading(key, read)

    async def _read(self, key: tuple[str, str]) -> A:
        now = self._monotonic()
        read = await self._aggregates.get(*key)
        if self._max_age_s and self._reading.is_current(key):  # else it may be from before a change
            self._kept[key] = read, now + self._max_age_s
        return read

    @property
    def reads(self) -> "RecentReads[A]":
        """What reads by `recent`."""
        return RecentReads(self)

    @property
    def projects(self) -> set[str]:
        """The projects of which something is in memory."""
        return {project for project, _ in self._kept}

    async def forget(self, project: str) -> int:
        """Forget a project; return how much that was."""
        self._reading.forget_all()
        forgotten = [key for key in self._kept if key[0] == project]
        for key in forgotten:
            del self._kept[key]
        return len(forgotten)

    async def get(self, project: str, aggregate_id: str) -> A:
        """See `Aggregates.get`."""
        return await self._aggregates.get(project, aggregate_id)

    async def get_many(self, project: str, aggregate_ids: Sequence[str]) -> dict[str, A]:
        """See `Aggregates.get_many`."""
        return await self._aggregates.get_many(project, aggregate_ids)

    async def list(
        self, project: str, *, page: PageRequest, where: Where | None = None, show_deleted: bool = False
    ) -> Page[A]:
        """See `Aggregates.list`."""
        return await self._aggregates.list(project, page=page, where=where, show_deleted=show_deleted)

    async def add(self, aggregate: A, *, request: Request) -> A:
        """See `Aggregates.add`."""
        try:
            return await self._aggregates.add(aggregate, request=request)
        finally:
            self._changed(aggregate.project, aggregate.id)

    async def update(
        self,
        project: str,
        aggregate_id: str,
        change: Callable[[A], None],
        *,
        request: Request,
        known: A | None = None,
    ) -> A:
        """See `Aggregates.update`."""
        try:
            return await self._aggregates.update(project, aggregate_id, change, request=request, known=known)
        finally:
            self._changed(project, aggregate_id)

    async def upsert(self, fresh: A, change: Callable[[A], None], *, request: Request) -> A:
        """See `Aggregates.upsert`."""
        try:
            return await self._aggregates.upsert(fresh, change, request=request)
        finally:
            self._changed(fresh.project, fresh.id)

    def _changed(self, project: str, aggregate_id: str) -> None:
        self._kept.pop((project, aggregate_id), None)
        self._reading.forget((project, aggregate_id))


@dataclass(frozen=True, slots=True)
class RecentReads(Generic[A]):
    """Gets what was read a moment ago; lists are read each time."""

    aggregates: RecentAggregates[A]

    async def get(self, project: str, aggregate_id: str, /) -> A:
        """See `RecentAggregates.recent`."""
        return await self.aggregates.recent(project, aggregate_id)

    async def list(self, project: str, *, page: PageRequest) -> Page[A]:
        """See `Aggregates.list`."""
        return await self.aggregates.list(project, page=page)
