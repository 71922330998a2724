"""The threads that run forward passes, off the event loop: urgent jobs first, round-robin by project."""

import asyncio
import itertools
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog

from tidemill_core.errors import NativePanic
from tidemill_kit.models.freed_memory import return_freed_memory

T = TypeVar("T")
_log = structlog.get_logger(__name__)


@dataclass(order=True, slots=True)
class _Job:
    urgency: int
    turn: int
    number: int
    work: Callable[[], Any] = field(compare=False)
    done: "asyncio.Future[Any]" = field(compare=False)


class EmbeddingThreads:
    """Runs a job on each thread: urgent ones first, in order within a project. Callers bound their queues.

    Projects share the threads by start-time fair queuing (Goyal, Vin and Cheng, 1996): a hundred jobs of one project
    delay a job of another project by one.
    """

    def __init__(self, count: int = 1, *, idle_s: float = 5.0) -> None:
        """Start the threads; one that is idle for `idle_s` returns the memory of its passes to the system."""
        self._jobs: queue.PriorityQueue[_Job] = queue.PriorityQueue()
        self._numbers = itertools.count()
        self._turn = [0, 0]
        """The turn being served, per urgency."""
        self._last: dict[tuple[int, str], int] = {}
        """The last turn assigned to each project, per urgency."""
        self._serving = threading.Lock()
        self._idle_s = idle_s
        self._threads = [self._started() for _ in range(count)]

    def _started(self) -> threading.Thread:
        thread = threading.Thread(target=self._compute, name="embedding", daemon=True)
        thread.start()
        return thread

    async def run(self, project: str, work: Callable[[], T], *, urgent: bool = False) -> T:
        """Run the project's work and return its result; a job that is cancelled while queued does not run."""
        for place, thread in enumerate(self._threads):
            if not thread.is_alive():
                _log.error("embedding_thread_replaced")
                self._threads[place] = self._started()
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        urgency = 0 if urgent else 1
        self._jobs.put(_Job(urgency, self._next_turn(urgency, project), next(self._numbers), work, done))
        return await done

    async def run_all(self, project: str, works: Sequence[Callable[[], T]], *, urgent: bool = False) -> list[T]:
        """Run works of a project, at once where threads are free; the first error cancels those that are queued."""
        jobs = [asyncio.ensure_future(self.run(project, work, urgent=urgent)) for work in works]
        try:
            return await asyncio.gather(*jobs)
        finally:
            for job in jobs:
                job.cancel()

    def _next_turn(self, urgency: int, project: str) -> int:
        """Return the turn of a project's next job, and drop projects without queued jobs."""
        served = self._turn[urgency]
        self._last = {key: turn for key, turn in self._last.items() if turn > self._turn[key[0]]}
        turn = max(served, self._last.get((urgency, project), 0)) + 1
        self._last[urgency, project] = turn
        return turn

    def _compute(self) -> None:
        idle_s: float | None = None
        while True:
            try:
                job = self._jobs.get(timeout=idle_s)
            except queue.Empty:
                return_freed_memory()
                idle_s = None
                continue
            idle_s = self._idle_s
            with self._serving:
                self._turn[job.urgency] = max(self._turn[job.urgency], job.turn)
            if job.done.cancelled():
                continue
            result: object = None
            error: Exception | None = None
            try:
                result = job.work()
            except BaseException as raised:  # noqa: BLE001 - passed to the awaiting caller; the shared thread survives
                error = raised if isinstance(raised, Exception) else NativePanic(type(raised).__name__)
            with suppress(RuntimeError):  # the caller's event loop is closed
                job.done.get_loop().call_soon_threadsafe(_finish, job.done, result, error)


def _finish(done: "asyncio.Future[Any]", result: object, error: Exception | None) -> None:
    if done.cancelled():
        return
    if error:
        done.set_exception(error)
    else:
        done.set_result(result)
