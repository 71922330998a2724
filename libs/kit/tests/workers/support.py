"""A controller under way, for tests: what it is given to do, who holds leases, and what it did."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tidemill_core.application import Page, Requeue, SystemClock
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.leases import Lease, LeaseLost
from tidemill_testkit.polling import eventually

SELDOM = timedelta(minutes=1)


@dataclass(frozen=True)
class Name:
    """A key."""

    key: str
    project: str = "acme"


class Pages:
    """What a store would find to do, two keys a page."""

    def __init__(self, *keys: Name) -> None:
        self.keys = list(keys)
        self.asked: list[tuple[str, frozenset[str]]] = []
        self.error: Exception | None = None

    async def __call__(self, token: str, /, *, without: frozenset[str]) -> Page[Name]:
        self.asked.append((token, without))
        if self.error is not None:
            raise self.error
        rest = [key for key in self.keys if key.key > token and key.project not in without]
        return Page(items=rest[:2], next_token=rest[1].key if len(rest) > 2 else "")


class OneProcess:
    """Leases of which another process may hold some."""

    def __init__(self) -> None:
        self.elsewhere = set[str]()
        self.lost: set[str] = set()
        self.held_now = set[str]()
        self.epoch = 0

    @asynccontextmanager
    async def held(self, job_id: str) -> AsyncIterator[Lease | None]:
        if job_id in self.elsewhere:
            yield None
            return
        self.epoch += 1
        self.held_now.add(job_id)
        try:
            yield Lease(job_id=job_id, owner="me", epoch=self.epoch, expires_at=SystemClock().now())
        finally:
            self.held_now.discard(job_id)
        if job_id in self.lost:
            raise LeaseLost(job_id)


class Work:
    """A controller under way, and what it did."""

    def __init__(self, **given: Any) -> None:  # noqa: ANN401 - what a controller is given
        self.pending = Pages()
        self.runs: list[str] = []
        self.epochs: list[int] = []
        self.results: dict[str, Requeue | Exception] = {}
        self.hold = asyncio.Event()
        self.hold.set()
        settings: dict[str, Any] = {"max_concurrent": 4, "poll_interval": SELDOM} | given
        self.controller: Controller[Name] = Controller("things", reconcile=self._run, pending=self.pending, **settings)

    async def _run(self, key: Name, epoch: int) -> Requeue | None:
        self.runs.append(key.key)
        self.epochs.append(epoch)
        await self.hold.wait()
        result = self.results.get(key.key)
        if isinstance(result, Exception):
            raise result
        self.pending.keys = [each for each in self.pending.keys if each != key or result is not None]
        return result

    async def ran(self, *keys: str) -> None:
        """Return when these runs were made, in any order, and no other."""
        await eventually(lambda: len(self.runs) >= len(keys))
        assert Counter(self.runs) == Counter(keys)


@asynccontextmanager
async def work(*pending: Name, **given: Any) -> AsyncIterator[Work]:  # noqa: ANN401 - see above
    made = Work(**given)
    made.pending.keys = list(pending)
    await made.controller.start()
    await eventually(lambda: bool(made.pending.asked))
    yield made
    await made.controller.stop()


async def idle(one: Work) -> None:
    """Return when nothing runs, and nothing is due."""
    await eventually(lambda: one.controller.status.running == one.controller.status.queued == 0)
