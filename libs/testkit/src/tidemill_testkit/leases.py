"""Leases in memory: those that services run on, over a collection of the test's own."""

from datetime import timedelta
from typing import Any, cast

from tidemill_kit.workers.leases import Leases
from tidemill_testkit.clocks import FixedClock
from tidemill_testkit.stores import InMemoryCollection


class InMemoryLeases(Leases):
    """Leases that end by the clock; a holder that lost one is cancelled at its next heartbeat.

    `await leases.acquire(job_id)` holds a job as another process would.
    """

    def __init__(self, *, ttl: timedelta = timedelta(seconds=30)) -> None:
        self._jobs, self._time, self._term = InMemoryCollection(), FixedClock(), ttl
        super().__init__(cast("Any", self._jobs), owner="test", ttl=ttl, clock=self._time)

    def expire(self) -> None:
        """End every lease, unnoticed by its holder until the next heartbeat."""
        self._time.advance(self._term)

    def epoch(self, job_id: str) -> int:
        """Return how often the job was held."""
        return next((job["lease"]["epoch"] for job in self._jobs.all() if job["_id"] == job_id), 0)
