"""As many processes as work asks for: one starts when all others are busy, and ends when it has long done nothing."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import structlog
from pebble import ProcessPool

_log = structlog.get_logger(__name__)
IDLE_S = 60.0
"""A process that had no work for so long ends."""
starting = threading.Lock()
"""Held while a process starts, for which its fork server must not end meanwhile."""


@dataclass(slots=True)
class IdleProcesses:
    """Pools of one process each, so that each can end for itself; at most `most`.

    None starts before the first work, and none is kept for long. What a process imports, it imports before it is handed
    to any work, so work that waits takes whichever process is free first: one that starts, or one that has ended its
    work meanwhile. One that started and does not answer within `answer_s` is handed on all the same. `name` stands in
    log lines.
    """

    name: str
    most: int
    answer_s: float
    new_pool: Callable[[], ProcessPool]
    idle: Callable[[], None] = lambda: None
    """Called in a thread when the last process has ended because there was no work."""
    _pools: set[ProcessPool] = field(default_factory=set)
    _free: list[tuple[float, ProcessPool]] = field(default_factory=list)
    """Since when each is free. The last is taken first, so that the others can end."""
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    """As many as are free."""
    _timer: asyncio.TimerHandle | None = None
    _background: set[asyncio.Task[None]] = field(default_factory=set)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[ProcessPool]:
        """Hold a started process for a block; one whose block raises is not given to other work before it answers."""
        if self._places.locked() and len(self._pools) < self.most:
            pool = self.new_pool()
            self._pools.add(pool)
            self._run(self._ready(pool))
        free = self._free  # another one after `stop`
        await self._places.acquire()
        _, pool = free.pop()
        try:
            if not pool.active:
                pool = self._replaced(pool)
                await asyncio.to_thread(_start, pool)
            yield pool
        except BaseException:
            self._run(self._ready(pool))
            raise
        self._hand_back(pool)

    @property
    def none(self) -> bool:
        """Whether there is no process now."""
        return not self._pools

    async def stop(self) -> None:
        """End all; what is in work is given up."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        pools, self._pools, self._free, self._places = self._pools, set(), [], asyncio.Semaphore(0)
        background = tuple(self._background)
        for task in background:
            task.cancel()
        await asyncio.gather(*background, *(asyncio.to_thread(_end, pool) for pool in pools), return_exceptions=True)

    def _replaced(self, broken: ProcessPool) -> ProcessPool:
        _log.error("process_pool_replaced", pool=self.name)
        self._pools.discard(broken)
        self._run(asyncio.to_thread(_end, broken))
        pool = self.new_pool()
        self._pools.add(pool)
        return pool

    def _run(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _ready(self, pool: ProcessPool) -> None:
        """Hand it on when it answers. One that never will is handed on, too: work reports what is wrong."""
        with suppress(Exception):
            await asyncio.to_thread(_start, pool)
            await asyncio.wrap_future(pool.schedule(_nothing, timeout=self.answer_s))
        self._hand_back(pool)

    def _hand_back(self, pool: ProcessPool) -> None:
        if pool not in self._pools:  # stopped meanwhile
            return
        self._free.append((time.monotonic(), pool))
        self._places.release()
        self._end_later()

    def _end_later(self) -> None:
        if self._timer is None and self._free:
            after_s = max(0.0, self._free[0][0] + IDLE_S - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(after_s, self._end_idle)

    def _end_idle(self) -> None:
        self._timer = None
        self._run(self._end_one())

    async def _end_one(self) -> None:
        """End the one that has been free for longest, if it is its time and no work is about to take it."""
        ending = None
        if not self._places.locked() and self._free[0][0] + IDLE_S <= time.monotonic():
            await self._places.acquire()  # at once
            _, ending = self._free.pop(0)
            self._pools.discard(ending)
        self._end_later()
        if ending is not None:
            await asyncio.to_thread(_end, ending)
            if self.none:
                await asyncio.to_thread(self.idle)


def _start(pool: ProcessPool) -> None:
    with starting:
        pool.active  # noqa: B018 - pebble starts the process, and its threads, when asked for it


def _end(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]  # pebble leaves this one out
    pool.join()


def _nothing() -> None:
    """Do nothing, in a process that is ready for work."""
