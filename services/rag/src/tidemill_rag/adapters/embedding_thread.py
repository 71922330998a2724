"""One thread that computes, so that the event loop never does; what is urgent goes first, and projects take turns."""

import asyncio
import itertools
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog

from tidemill_kit.core.errors import NativePanic
from tidemill_kit.grpc.context import project_of_call

T = TypeVar("T")
_log = structlog.get_logger(__name__)


@dataclass(order=True, slots=True)
class _Job:
    urgency: int
    turn: int
    number: int
    work: Callable[[], Any] = field(compare=False)
    done: "asyncio.Future[Any]" = field(compare=False)


class EmbeddingThread:
    """Runs one piece of work at a time, urgent ones first, each project's in order; callers bound what they ask for.

    A project's work comes after as much of others' as it has waiting itself: what one asks for a hundred times holds
    up another project's work once (start-time fair queuing; Goyal, Vin and Cheng, 1996).
    """

    def __init__(self) -> None:
        self._jobs: queue.PriorityQueue[_Job] = queue.PriorityQueue()
        self._numbers = itertools.count()
        self._turn = [0, 0]
        """The turn that is served, of each urgency."""
        self._last: dict[tuple[int, str], int] = {}
        """The last turn that each project has taken, of each urgency."""
        self._thread = self._started()

    def _started(self) -> threading.Thread:
        thread = threading.Thread(target=self._compute, name="embedding", daemon=True)
        thread.start()
        return thread

    async def run(self, work: Callable[[], T], *, urgent: bool = False) -> T:
        """Return what the work returns; being cancelled while it waits, it is not done at all."""
        if not self._thread.is_alive():
            _log.error("embedding_thread_replaced")
            self._thread = self._started()
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        urgency = 0 if urgent else 1
        self._jobs.put(_Job(urgency, self._next_turn(urgency, project_of_call()), next(self._numbers), work, done))
        return await done

    def _next_turn(self, urgency: int, project: str) -> int:
        """Return the turn of a project's next work, and forget projects whose turns are over."""
        served = self._turn[urgency]
        self._last = {key: turn for key, turn in self._last.items() if turn > self._turn[key[0]]}
        turn = max(served, self._last.get((urgency, project), 0)) + 1
        self._last[urgency, project] = turn
        return turn

    def _compute(self) -> None:
        while True:
            job = self._jobs.get()
            self._turn[job.urgency] = max(self._turn[job.urgency], job.turn)
            if job.done.cancelled():
                continue
            result: object = None
            error: Exception | None = None
            try:
                result = job.work()
            except BaseException as raised:  # noqa: BLE001 - the caller's, who awaits it; the thread is everybody's
                error = raised if isinstance(raised, Exception) else NativePanic(type(raised).__name__)
            with suppress(RuntimeError):  # its loop is closed: nobody waits any more
                job.done.get_loop().call_soon_threadsafe(_finish, job.done, result, error)


def _finish(done: "asyncio.Future[Any]", result: object, error: Exception | None) -> None:
    if done.cancelled():
        return
    if error:
        done.set_exception(error)
    else:
        done.set_result(result)
