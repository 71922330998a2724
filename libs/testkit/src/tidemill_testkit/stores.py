"""Fakes that pass the same contract suite as the stores they stand for."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Generic, TypeVar

from tidemill_kit.aggregates import refuse_label_keys
from tidemill_kit.application import Clock, Page, PageRequest, Request, SystemClock
from tidemill_kit.domain import Aggregate, Event
from tidemill_kit.errors import AlreadyExists, NotFound, RequestIdReused
from tidemill_kit.paging import Place, checked_size, list_digest, place_of, token_after
from tidemill_kit.quotas import Quota

A = TypeVar("A", bound=Aggregate)

_REMEMBERED_REQUESTS = 50


@dataclass(slots=True, kw_only=True)
class _Stored(Generic[A]):
    aggregate: A
    requests: list[Request] = field(default_factory=list)


class InMemoryAggregates(Generic[A]):
    """Aggregates kept as copies, so that a test never shares an object with the code under test.

    `where` of a list matches the aggregate's own fields; a dot leads into a field's field.
    """

    def __init__(
        self,
        *aggregates: A,
        missing: Callable[[str], NotFound],
        clock: Clock | None = None,
        quota: Quota | None = None,
    ) -> None:
        self._missing = missing
        self._quota = quota
        self._clock = clock or SystemClock()
        self._stored: dict[tuple[str, str], _Stored[A]] = {}
        self.published: list[Event] = []
        """Every event saved so far, in order."""
        for aggregate in aggregates:
            self._save(deepcopy(aggregate), None)
        self.published.clear()

    async def get(self, project: str, aggregate_id: str) -> A:
        """See `Aggregates.get`."""
        stored = self._stored.get((project, aggregate_id))
        if stored is None or stored.aggregate.deleted:
            raise self._missing(aggregate_id)
        return deepcopy(stored.aggregate)

    async def get_many(self, project: str, aggregate_ids: Sequence[str]) -> dict[str, A]:
        """See `Aggregates.get_many`."""
        found = [self._stored[project, each].aggregate for each in aggregate_ids if (project, each) in self._stored]
        return {aggregate.id: deepcopy(aggregate) for aggregate in found if not aggregate.deleted}

    async def list(
        self, project: str, *, page: PageRequest, where: Mapping[str, str] | None = None, show_deleted: bool = False
    ) -> Page[A]:
        """See `Aggregates.list`."""
        size, where = checked_size(page), where or {}
        digest = list_digest(project, where, show_deleted=show_deleted)
        after = place_of(page.token, digest=digest)
        found = [
            stored.aggregate
            for (of_project, _), stored in self._stored.items()
            if of_project == project
            and (show_deleted or not stored.aggregate.deleted)
            and all(_value(stored.aggregate, name) == value for name, value in where.items())
            and (after is None or _order(stored.aggregate) > (after.create_time, after.id))
        ]
        shown = sorted(found, key=_order)[:size]
        token = token_after(Place(*_order(shown[-1])), digest=digest) if len(found) > size else ""
        return Page(items=deepcopy(shown), next_token=token)

    async def add(self, aggregate: A, *, request: Request) -> A:
        """See `Aggregates.add`."""
        stored = self._stored.get((aggregate.project, aggregate.id))
        if stored is not None and _was_applied(stored, request):
            return deepcopy(stored.aggregate)
        if stored is not None and not stored.aggregate.deleted:
            raise AlreadyExists(aggregate.id)
        return self._save(deepcopy(aggregate), request)

    async def update(self, project: str, aggregate_id: str, change: Callable[[A], None], *, request: Request) -> A:
        """See `Aggregates.update`."""
        stored = self._stored.get((project, aggregate_id))
        if stored is not None and _was_applied(stored, request):
            return deepcopy(stored.aggregate)
        if stored is None or stored.aggregate.deleted:
            raise self._missing(aggregate_id)
        return self._changed(stored, change, request)

    async def upsert(self, fresh: A, change: Callable[[A], None], *, request: Request) -> A:
        """See `Aggregates.upsert`."""
        stored = self._stored.get((fresh.project, fresh.id))
        if stored is not None and _was_applied(stored, request):
            return deepcopy(stored.aggregate)
        if stored is not None:
            return self._changed(stored, change, request)
        aggregate = deepcopy(fresh)
        change(aggregate)
        return self._save(aggregate, request)

    def _changed(self, stored: _Stored[A], change: Callable[[A], None], request: Request) -> A:
        aggregate = deepcopy(stored.aggregate)
        change(aggregate)
        if aggregate != stored.aggregate:
            return self._save(aggregate, request)
        if request.named:
            stored.requests.append(request)
        del stored.requests[:-_REMEMBERED_REQUESTS]
        return aggregate

    def _save(self, aggregate: A, request: Request | None) -> A:
        refuse_label_keys(aggregate)
        stored = self._stored.get((aggregate.project, aggregate.id))
        if self._quota is not None and not aggregate.deleted and (stored is None or stored.aggregate.deleted):
            mine = (each for (project, _), each in self._stored.items() if project == aggregate.project)
            self._quota.check(aggregate.project, sum(not each.aggregate.deleted for each in mine))
        requests = [*(stored.requests if stored else []), *([request] if request and request.named else [])]
        aggregate.version = (stored.aggregate.version if stored else 0) + 1
        aggregate.seq = (stored.aggregate.seq if stored else 0) + len(aggregate.pending)
        aggregate.update_time = self._clock.now()
        aggregate.create_time = aggregate.create_time or aggregate.update_time
        self.published += aggregate.pending
        aggregate.pending = []
        self._stored[aggregate.project, aggregate.id] = _Stored(
            aggregate=deepcopy(aggregate), requests=requests[-_REMEMBERED_REQUESTS:]
        )
        return aggregate


def _was_applied(stored: _Stored[A], request: Request) -> bool:
    digest = {known.id: known.digest for known in stored.requests}.get(request.id)
    if digest not in {None, request.digest}:
        raise RequestIdReused(request.id)
    return digest is not None


def _order(aggregate: Aggregate) -> tuple[datetime, str]:
    assert aggregate.create_time is not None
    return aggregate.create_time, aggregate.id


def _value(aggregate: Aggregate, name: str) -> object:
    value: object = aggregate
    for part in name.split("."):
        value = getattr(value, part, None)
    return value.value if isinstance(value, Enum) else value
