"""One controller for all work in the background: a queue of keys, each reconciled by one worker at a time.

As a controller of Kubernetes does, it calls `reconcile` with a key, never with an event: what is to be done is read
from the stores. A key that is enqueued ten times is reconciled once; one that is enqueued while it is reconciled is
reconciled again afterwards. Keys come by `enqueue`, and by a resync, which finds those of a process that died.
"""

import asyncio
import heapq
import itertools
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, Protocol, TypeVar

import structlog
from prometheus_client import Counter as Count
from prometheus_client import Gauge, Histogram

from tidemill_core.application import Page, Requeue
from tidemill_core.errors import TidemillError, digest_of, isolated
from tidemill_kit.workers.fair_share import Turn, Turns
from tidemill_kit.workers.leases import Lease, LeaseLost
from tidemill_kit.workers.worker import Worker

DEPTH = Gauge("tidemill_controller_queue_depth", "Keys that wait to be reconciled.", ["controller"])
RUNS = Count("tidemill_controller_runs", "Reconciliations, by what became of them.", ["controller", "result"])
SECONDS = Histogram("tidemill_controller_run_seconds", "Time that one reconciliation took.", ["controller"])

_MIN_BACKOFF_S = 0.5
_MAX_BACKOFF_S = 15.0
_MAX_LEASE_BACKOFF_S = 4.0
"""A key whose lease another process holds: an event may have come to this one after the other had read everything."""
_MAX_NEW_OF_PROJECT = 100
"""Keys of one project that a resync finds beside the page that it reads; the others come when these are done."""
_MIN_RESYNC_S = 1.0
_PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,64}(/[A-Za-z0-9_.-]{1,64}(@[0-9]{1,9})?)*")

_log = structlog.get_logger()


class Key(Protocol):
    """What is reconciled. Equal keys are one key."""

    @property
    def project(self) -> str:
        """Whose work it is."""

    @property
    def key(self) -> str:
        """Its name among the keys of all projects: the id of its lease, and its name in logs."""


K = TypeVar("K", bound=Key)
K_contra = TypeVar("K_contra", contravariant=True)


class Pending(Protocol[K]):
    """Finds the keys that have something to do, in pages."""

    async def __call__(self, token: str, /, *, without: frozenset[str]) -> Page[K]:
        """Return the page after the token, "" being the first; keys of the projects in `without` may be left out."""


class Holder(Protocol):
    """Grants leases; `leases.Leases` does."""

    def held(self, job_id: str) -> AbstractAsyncContextManager[Lease | None]:
        """Hold the lease while the body runs; yields None if another process holds it."""


class Capacity(Protocol[K_contra]):
    """What keys take of this process beside a place, such as memory. Called by the event loop alone."""

    def take(self, key: K_contra, /) -> bool:
        """Take what a key needs if it is there; return whether it was."""

    def give_back(self, key: K_contra, /) -> None:
        """Give back what was taken for a key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerStatus:
    """How a controller is, with the fields of tidemill.status.v1.Controller."""

    name: str
    queued: int
    running: int
    retrying: int
    message: str


class Controller(Worker, Generic[K]):
    """Reconciles keys, `max_concurrent` at once and each in its project's turn. Implements `service.Watched`.

    `reconcile` gets the key and the epoch of its lease (0 without `leases`). It returns None when there is nothing
    to do until the key is enqueued again, or `Requeue`. What fails, also in `rank`, is retried with backoff, from half
    a second to 15 s or `poll_interval` if that is shorter; enqueueing the key does not shorten it. A key whose lease is
    kept between its reconciliations takes no place meanwhile. `rank` orders the keys of a project that wait for a
    place, lowest first; one for which `capacity` has too little is passed over: `serve` asks again. Keys of projects
    that are `deleted` are passed over, without a lease: what erases such a project finds nothing that comes back.
    """

    def __init__(  # noqa: PLR0913 - what a controller is, declared once in app.py
        self,
        name: str,
        *,
        reconcile: Callable[[K, int], Awaitable[Requeue | None]],
        pending: Pending[K],
        max_concurrent: int,
        poll_interval: timedelta,
        leases: Holder | None = None,
        debounce: timedelta = timedelta(0),
        deleted: Callable[[str], bool] | None = None,
        rank: Callable[[K], Awaitable[float]] | None = None,
        capacity: Capacity[K] | None = None,
    ) -> None:
        super().__init__(name, self._run)
        self._reconcile = reconcile
        self._pending = pending
        self._poll_interval_s = poll_interval.total_seconds()
        self._leases = leases
        self._deleted = deleted or (lambda _: False)
        self._rank = rank
        self._capacity = capacity
        self._debounce_s = debounce.total_seconds()
        self._turns = Turns(max_concurrent)
        self._due: dict[K, float] = {}
        self._order: list[tuple[float, int, K]] = []
        self._count = itertools.count()
        self._scheduled: set[K] = set()
        self._paused: dict[K, asyncio.Event] = {}
        self._running: set[K] = set()
        self._failures: dict[K, int] = {}
        self._not_before: dict[K, float] = {}
        self._left_out: frozenset[str] = frozenset()
        self._changed = asyncio.Event()
        self._to_resync = asyncio.Event()
        self._message = ""

    @property
    def status(self) -> ControllerStatus:
        """How it is now."""
        return ControllerStatus(
            name=self.name,
            queued=len(self._due),
            running=len(self._running),
            retrying=len(self._failures),
            message=self._message,
        )

    @property
    def scheduled(self) -> frozenset[K]:
        """The keys that are reconciled, or will be as soon as it is their turn."""
        return frozenset(self._scheduled)

    def enqueue(self, key: K) -> None:
        """Reconcile the key soon, once for all calls within the debounce time; may be called before the start."""
        self._add(key, time.monotonic() + self._debounce_s)

    def serve(self) -> None:
        """Give places to keys that wait, for which there may be capacity by now."""
        self._turns.serve()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._resync_again_and_again())
            while True:
                self._changed.clear()
                now = time.monotonic()
                while self._order and self._order[0][0] <= now:
                    at, _, key = heapq.heappop(self._order)
                    if self._due.get(key) != at:
                        continue
                    if paused := self._paused.pop(key, None):
                        paused.set()
                    elif key not in self._scheduled:
                        self._scheduled.add(key)
                        tasks.create_task(self._work(key))
                await _set_within(self._changed, self._order[0][0] - now if self._order else None)

    async def _resync_again_and_again(self) -> None:
        while True:
            self._to_resync.clear()
            try:
                with isolated():
                    await self._resync()
                self._message = ""
            except TidemillError as error:
                self._message = error.message
                _log.warning("resync_failed", controller=self.name, reason=error.reason, why=error.message)
            except Exception as error:  # noqa: BLE001 - what is enqueued is reconciled all the same
                self._message = type(error).__name__
                _log.error("resync_failed", controller=self.name, exc_info=error)
            min_pause_s = min(_MIN_RESYNC_S, self._poll_interval_s)
            await asyncio.sleep(min_pause_s)
            await _set_within(self._to_resync, self._poll_interval_s - min_pause_s)

    async def _resync(self) -> None:
        """Enqueue what has something to do; of a project that has much of it, some, and the rest when that is done."""
        found, left_out, token = Counter[str](), frozenset[str](), ""
        while True:
            left_out |= self._turns.crowded | {project for project, n in found.items() if n >= _MAX_NEW_OF_PROJECT}
            page = await self._pending(token, without=left_out)
            for key in page.items:
                if key in self._scheduled:
                    continue
                found[key.project] += key not in self._due
                self._add(key, time.monotonic())
            token = page.next_token
            if not token:
                break
        self._left_out = left_out

    def _add(self, key: K, at: float) -> None:
        at = max(at, self._not_before.get(key, 0.0))
        if at < self._due.get(key, float("inf")):
            self._due[key] = at
            heapq.heappush(self._order, (at, next(self._count), key))
            DEPTH.labels(self.name).set(len(self._due))
            self._changed.set()

    async def _work(self, key: K) -> None:
        try:
            with self._retried(key):
                rank = await self._rank(key) if self._rank else 0.0
                needs = _Needs(self._capacity, key) if self._capacity else None
                async with self._turns.of(key.project, rank=rank, needs=needs) as turn:
                    self._begin(key)
                    await self._leased(key, turn)
        finally:
            self._running.discard(key)
            self._paused.pop(key, None)
            self._scheduled.discard(key)
            if (again := self._due.pop(key, None)) is not None:
                self._add(key, again)
            DEPTH.labels(self.name).set(len(self._due))
            if key.project in self._left_out and key.project not in self._turns.crowded:
                self._left_out = frozenset()
                self._to_resync.set()

    def _begin(self, key: K) -> None:
        self._due.pop(key)
        self._running.add(key)

    @contextmanager
    def _retried(self, key: K) -> Iterator[None]:
        """Retry the key later where the body fails: one key that breaks must not end the others."""
        log = _log.bind(controller=self.name, project=key.project, key=_named(key))
        try:
            with isolated():
                yield
        except LeaseLost as error:
            log.warning("reconcile_postponed", reason=error.reason, why=error.message)
            self._back_off(key, result="postponed", max_s=_MAX_LEASE_BACKOFF_S)
        except TidemillError as error:
            log.warning("reconcile_failed", reason=error.reason, why=error.message)
            self._back_off(key, result="failed")
        except Exception:
            log.exception("reconcile_failed")
            self._back_off(key, result="failed")

    async def _leased(self, key: K, turn: Turn) -> None:
        """Reconcile the key under its lease, again and again while that is kept."""
        if self._deleted(key.project):
            self._finished(key, None, 0.0)
            return
        if self._leases is None:
            requeue, duration_s = await self._timed(key, 0)
            self._ended(key, turn, requeue, duration_s)
            return
        async with self._leases.held(key.key) as lease:
            if lease is None:
                self._back_off(key, result="held", max_s=_MAX_LEASE_BACKOFF_S)
                return
            requeue, duration_s = await self._timed(key, lease.epoch)
            while requeue is not None and requeue.after is not None and requeue.keep_lease:
                self._finished(key, requeue, duration_s)
                await self._pause(key, turn)
                requeue, duration_s = await self._timed(key, lease.epoch)
        self._ended(key, turn, requeue, duration_s)

    def _ended(self, key: K, turn: Turn, requeue: Requeue | None, duration_s: float) -> None:
        if requeue is not None and requeue.hands_on:
            turn.hand_on()
        self._finished(key, requeue, duration_s)

    async def _timed(self, key: K, epoch: int) -> tuple[Requeue | None, float]:
        started = time.perf_counter()
        try:
            requeue = await self._reconcile(key, epoch)
        finally:
            duration_s = time.perf_counter() - started
            SECONDS.labels(self.name).observe(duration_s)
        return requeue, duration_s

    def _finished(self, key: K, requeue: Requeue | None, duration_s: float) -> None:
        log = _log.bind(controller=self.name, project=key.project, key=_named(key))
        if requeue is not None and requeue.after is None:
            log.info("reconcile_postponed")
            self._back_off(key, result="postponed")
            return
        log.debug("reconcile_finished", duration_s=round(duration_s, 3))
        RUNS.labels(self.name, "handed_on" if requeue is not None and requeue.hands_on else "finished").inc()
        self._failures.pop(key, None)
        self._not_before.pop(key, None)
        if requeue is not None and requeue.after is not None:
            self._add(key, time.monotonic() + requeue.after.total_seconds())

    async def _pause(self, key: K, turn: Turn) -> None:
        """Give the place to other keys until this one is due again."""
        due = self._paused[key] = asyncio.Event()
        self._add(key, self._due.pop(key))  # anew, for what was enqueued while it ran
        self._running.discard(key)
        turn.pause()
        await due.wait()
        await turn.resume()
        self._begin(key)

    def _back_off(self, key: K, *, result: str, max_s: float = _MAX_BACKOFF_S) -> None:
        """Retry the key, later after each failure in a row."""
        RUNS.labels(self.name, result).inc()
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        pause_s = min(max_s, self._poll_interval_s, _MIN_BACKOFF_S * 2 ** min(failures - 1, 8))
        at = self._not_before[key] = time.monotonic() + pause_s
        self._due.pop(key, None)
        self._add(key, at)


@dataclass(frozen=True, slots=True)
class _Needs(Generic[K]):
    """What one key takes of a capacity."""

    capacity: Capacity[K]
    key: K

    def take(self) -> bool:
        return self.capacity.take(self.key)

    def give_back(self) -> None:
        self.capacity.give_back(self.key)


def _named(key: Key) -> str:
    """Return the key's name for the log; what is no plain id, and may be a text of users, is named by a digest."""
    return key.key if _PLAIN.fullmatch(key.key) else digest_of(key.key)


async def _set_within(event: asyncio.Event, seconds: float | None) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
