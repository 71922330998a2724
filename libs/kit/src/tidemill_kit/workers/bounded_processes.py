"""Work on what a project chose, in processes of its own: bounded in processor, memory and time, each project in turn.

The work is a function of a module, its arguments and results are plain data. What takes too much ends alone, and its
process is replaced. A service that uses this declares `pebble`.

The processes are forked from one that has imported what the work needs and does nothing else (Python's fork server): a
process starts in milliseconds and shares that memory, so that none has to be kept while there is no work. Where the
work is in the background alone, the fork server ends with the last of them: the next work waits for its imports.
"""

import asyncio
import contextlib
import importlib
import math
import multiprocessing
import multiprocessing.connection
import os
import resource
import signal
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from multiprocessing import forkserver
from typing import Literal, TypeVar

import structlog
from pebble import ProcessExpired, ProcessPool

from tidemill_core.errors import NativePanic, RateLimited, isolated
from tidemill_kit.workers.idle_processes import IdleProcesses, starting

R = TypeVar("R")
_RETRY_AFTER_S = 1.0
_GRACE_S = 1.0
_FAULTS = (signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGTRAP, signal.SIGBUS, signal.SIGFPE, signal.SIGSYS)
"""Signals of a process that ran into a fault of its own; the machine ends processes by others."""
_UNUSED_LIBRARIES = "tidemill_kit.runtime.unused_libraries"
_imports = [__name__]
"""Of the fork server: what any pool's work needs."""
_pools = weakref.WeakSet["BoundedProcesses"]()
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessLimits:
    """What one piece of work may take, and how many there are at once.

    `cpu_s` is the processor's time, for which the work is to blame; `wall_s` all of its time, which may be the
    machine's. `share` is how many places one project may hold, 0 all; `waiting` how many more of its may wait.
    """

    workers: int
    cpu_s: float
    wall_s: float
    memory_bytes: int
    share: int = 0
    waiting: int = 100


class WorkEndedError(Exception):
    """The work came to no result. `why` is about the work alone: neither quotes what was worked on.

    It `crashed` where a fault of its own ended the process, which the same work would do again; `died` may be the
    machine's doing.
    """

    def __init__(self, *, cause: Literal["cpu", "wall", "crashed", "died", "failed"], why: str) -> None:
        super().__init__(why)
        self.cause = cause
        self.why = why


class Shares:
    """Places by project: none holds more than its share, and only so many wait for theirs."""

    def __init__(self, share: int, *, waiting: int, what: str) -> None:
        self._share = share
        self._waiting = waiting
        self._what = what
        self._places: dict[str, _Places] = {}

    @asynccontextmanager
    async def place(self, project: str) -> AsyncIterator[None]:
        """Hold a place for a block.

        Raises:
            RateLimited: too many of the project wait already.

        """
        places = self._places.setdefault(project, _Places(asyncio.Semaphore(self._share)))
        if places.held >= self._share + self._waiting:
            message = f"{places.held} {self._what} of this project run, {self._share} at a time: try again later"
            raise RateLimited(message, retry_after_s=_RETRY_AFTER_S, limit=self._share + self._waiting)
        places.held += 1
        try:
            async with places.free:
                yield
        finally:
            places.held -= 1
            if not places.held:
                self._places.pop(project, None)


@dataclass(slots=True)
class _Places:
    free: asyncio.Semaphore
    held: int = 0


@dataclass(frozen=True, slots=True)
class _Ended:
    """A failure on its way between processes: an error that cannot be copied would break the pool."""

    cause: Literal["cpu", "failed"]
    error: str = ""


@dataclass(slots=True, eq=False, weakref_slot=True)
class BoundedProcesses:
    """Runs functions in a few processes; `name` stands in its log lines.

    `imports` are modules that the work needs; importing them is not measured. Name all pools before the first work.
    `background` says of all pools of a service that their callers can wait a second more after a quiet minute.
    """

    limits: ProcessLimits
    name: str
    imports: Sequence[str] = ()
    background: bool = False
    _processes: IdleProcesses = field(init=False)
    _shares: Shares = field(init=False)

    def __post_init__(self) -> None:
        """Make the pool, whose processes come with the work, and end when there has long been none."""
        _imports.extend(name for name in self.imports if name not in _imports)
        # What a service leaves out, its processes leave out.
        first = [_UNUSED_LIBRARIES] if _UNUSED_LIBRARIES in sys.modules else []
        multiprocessing.set_forkserver_preload([*first, *_imports])
        most, answer_s = self.limits.workers, self.limits.wall_s
        self._processes = IdleProcesses(
            name=self.name, most=most, answer_s=answer_s, new_pool=self._new_pool, idle=_end_fork_server
        )
        _pools.add(self)
        share = self.limits.share or self.limits.workers
        self._shares = Shares(share, waiting=self.limits.waiting, what=self.name)

    async def stop(self) -> None:
        """Stop the processes; what is in work is given up."""
        await self._processes.stop()

    async def run(self, project: str, work: Callable[..., R], *arguments: object) -> R:
        """Return what the work returns.

        Raises:
            WorkEndedError: it took too much, ended its process, or raised; only the error's name comes back.
            RateLimited: too much of the project's work waits already.

        """
        async with self._shares.place(project):
            return await self._outcome(work, *arguments)

    async def _outcome(self, work: Callable[..., R], *arguments: object) -> R:
        limits = self.limits
        try:
            async with self._processes.one() as pool:
                future = pool.schedule(_bounded, args=(limits.cpu_s, work, *arguments), timeout=limits.wall_s)
                outcome: R | _Ended = await asyncio.wrap_future(future)
        except TimeoutError as error:
            _log.warning("process_stopped", pool=self.name, after_s=limits.wall_s)
            raise WorkEndedError(cause="wall", why=f"took more than {limits.wall_s:g} s") from error
        except ProcessExpired as error:
            if error.exitcode == -signal.SIGXCPU:
                raise WorkEndedError(cause="cpu", why=f"takes more than {limits.cpu_s:g} s") from error
            _log.warning("process_died", pool=self.name, exit_code=error.exitcode)
            crashed = -error.exitcode in _FAULTS
            raise WorkEndedError(cause="crashed" if crashed else "died", why="ended its process") from error
        if not isinstance(outcome, _Ended):
            return outcome
        if outcome.cause == "cpu":
            raise WorkEndedError(cause="cpu", why=f"takes more than {limits.cpu_s:g} s")
        _log.error("process_work_failed", pool=self.name, error=outcome.error)
        raise WorkEndedError(cause="failed", why=f"failed with {outcome.error}")

    def _new_pool(self) -> ProcessPool:
        # Neither a fork of this process, which has gRPC's threads, nor a stray child when it is killed.
        context = multiprocessing.get_context("forkserver")
        return ProcessPool(
            max_workers=1,
            initializer=_begin,
            initargs=(self.limits.memory_bytes, tuple(self.imports)),
            context=context,
        )


def _end_fork_server() -> None:
    """End it where no pool has a process, or will have to wait for one."""
    with starting:
        if all(pool.background and pool._processes.none for pool in _pools):  # noqa: SLF001 - of this module
            forkserver._forkserver._stop()  # type: ignore[attr-defined]  # noqa: SLF001 - starts again by itself


class _CpuTimeSpentError(BaseException):
    """The work has had all the processor's time that there is; no `except Exception` in it goes on after that."""


def _bounded(cpu_s: float, work: Callable[..., R], *arguments: object) -> R | _Ended:
    try:
        with isolated():
            try:
                _end_when_spent(cpu_s)
                signal.signal(signal.SIGPROF, _stop_spending)
                signal.setitimer(signal.ITIMER_PROF, cpu_s)
                return work(*arguments)
            except _CpuTimeSpentError:
                return _Ended("cpu")
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
    except Exception as error:  # noqa: BLE001 - the edge of the process
        return _Ended("failed", str(error) if isinstance(error, NativePanic) else type(error).__name__)


def _end_when_spent(cpu_s: float) -> None:
    """Have the kernel end this process a little after its time: a handler waits until a call into C returns."""
    seconds = math.ceil(time.process_time() + cpu_s + _GRACE_S)
    soft, hard = _below_hard(resource.RLIMIT_CPU, seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _below_hard(kind: int, maximum: int) -> tuple[int, int]:
    """Return a limit and the hard one above it, which the service inherited and cannot raise."""
    _, hard = resource.getrlimit(kind)
    return (maximum if hard == resource.RLIM_INFINITY else min(maximum, hard)), hard


def _stop_spending(_signal: int, _frame: object) -> None:
    raise _CpuTimeSpentError


def _begin(memory_bytes: int, imports: Sequence[str]) -> None:
    """Bound this process in memory, and end it with the service."""
    maximum, _ = _below_hard(resource.RLIMIT_AS, memory_bytes)
    resource.setrlimit(resource.RLIMIT_AS, (maximum, maximum))
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    for name in imports:  # those of a pool that was made after the fork server
        importlib.import_module(name)


def _end_with(parent: int) -> None:
    multiprocessing.connection.wait([parent])
    os._exit(1)
