"""Count what caches save, by deployment and day: in memory first, and in the store some seconds later."""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta

from tidemill_core.application import Caller, Clock
from tidemill_core.errors import DependencyUnavailable, Violation
from tidemill_core.resources import refuse
from tidemill_inference.caching.domain.savings import DailySavings, Savings
from tidemill_inference.caching.ports import SavingsStore

DEFAULT_DAYS, MAX_DAYS = 30, 400
_BATCH_SIZE = 500
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Key:
    project: str
    deployment: str
    day: date


@dataclass(slots=True, kw_only=True)
class CountSavings:
    """An answer adds to a sum in memory, so that it waits for no store. A process that dies loses the last seconds'."""

    store: SavingsStore
    clock: Clock
    every_s: float = 5.0
    _sums: dict[_Key, Savings] = field(default_factory=dict)

    def add(self, project: str, deployment: str, savings: Savings) -> None:
        """Count an answer of today."""
        key = _Key(project, deployment, self.clock.now().date())
        self._sums[key] = self._sums.get(key, Savings()) + savings

    async def flush(self) -> None:
        """Add what is in memory to the store; what a store that does not answer misses stays in memory."""
        for key in list(self._sums):
            savings = self._sums.pop(key, Savings())
            try:
                await self.store.add(_row(key, savings))
            except DependencyUnavailable as error:
                _log.warning("cache_savings_not_stored: %s", error.reason)
                self._sums[key] = savings + self._sums.get(key, Savings())
                return

    async def run(self) -> None:
        """Flush from time to time, and once more when cancelled."""
        try:
            while True:
                await asyncio.sleep(self.every_s)
                await self.flush()
        finally:
            await self.flush()

    @property
    def projects(self) -> set[str]:
        """The projects of which something is in memory."""
        return {key.project for key in self._sums}

    async def forget(self, project: str) -> int:
        """Forget a project; return how much that was."""
        mine = [key for key in self._sums if key.project == project]
        for key in mine:
            del self._sums[key]
        return len(mine)


def _row(key: _Key, savings: Savings) -> DailySavings:
    return DailySavings(project=key.project, deployment=key.deployment, day=key.day, savings=savings)


def _violations(deployment: str, days: int) -> Iterator[Violation]:
    if not deployment:
        yield Violation("id", "is required: name a deployment")
    if not 0 <= days <= MAX_DAYS:
        yield Violation("days", f"is {days}; use 1 to {MAX_DAYS}, or 0 for {DEFAULT_DAYS}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSavings:
    """Says what was saved, but for the last seconds."""

    store: SavingsStore
    clock: Clock

    async def __call__(self, caller: Caller, deployment: str, *, days: int = 0) -> list[DailySavings]:
        """Return the last `days` days of a deployment, today among them, the newest first; 0 is the default.

        Raises:
            InvalidInput: there are too many days.
            DependencyUnavailable: the store does not answer.

        """
        refuse(_violations(deployment, days))
        since = self.clock.now().date() - timedelta(days=(days or DEFAULT_DAYS) - 1)
        return list(await self.store.since(caller.project, deployment, since))


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveOldSavings:
    """A sweep of days that are too old to be read."""

    store: SavingsStore
    clock: Clock

    async def __call__(self) -> int:
        """Return how many were removed."""
        removed, before = 0, self.clock.now().date() - timedelta(days=MAX_DAYS)
        while some := await self.store.remove_before(before, limit=_BATCH_SIZE):
            removed += some
        return removed
