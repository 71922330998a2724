"""Calls of a store, or of processes, that come while others are in progress, made together."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar, Unpack

from tidemill_core.errors import TRANSIENT, isolated

Item = TypeVar("Item")
Result = TypeVar("Result")
Key = TypeVar("Key", bound=Hashable)

_MAX_CONCURRENT = 2
_MAX_BATCH = 100
_MAX_TOGETHER = 16


class BatchOptions(TypedDict, total=False):
    """What a call may hold, and how many there may be at the same time."""

    max_concurrent: int
    max_batch: int
    repeatable: bool
    """Whether a call of several that fails is made again for each alone, see `Batched`."""
    spread: bool
    """Whether what comes at once goes to all calls that may begin, where each makes use of a processor."""
    weigh: Callable[[Any], float]
    """The share of a call that an item takes up, 0 to 1: a call ends where the next one would be too much."""


class _Waiting(NamedTuple, Generic[Item]):
    item: Item
    context: Context
    """Of the caller: what is logged and traced of a call for it alone."""


_Batch = Mapping[asyncio.Future[Result], _Waiting[Item]]


class Batched(Generic[Item, Result]):
    """Gives `call` what comes: at once where nothing is in progress, else all that has come by the end of a call.

    `call` returns a result for each item, in their order. What it raises is raised for each of its items. Of a caller
    that is cancelled nothing is done that has not begun; a call that runs goes on: it is others' too. With
    `repeatable`, for what may be done twice, a call of several that fails otherwise than by a store that is down is
    made again for each alone: one that cannot be stored fails by itself.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        idle: Callable[[], None] = lambda: None,
        **options: Unpack[BatchOptions],
    ) -> None:
        """Prepare; `idle` is called whenever nothing waits or runs any more."""
        self._call = call
        self._idle = idle
        self._repeatable = options.get("repeatable", False)
        self._max_concurrent = options.get("max_concurrent", _MAX_CONCURRENT)
        self._max_batch = options.get("max_batch", _MAX_BATCH)
        self._spread = options.get("spread", False)
        self._weigh = options.get("weigh", lambda _item: 0.0)
        self._waiting: dict[asyncio.Future[Result], _Waiting[Item]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._beginning = False
        """Whether a call is about to begin, with what comes until then."""

    async def __call__(self, item: Item) -> Result:
        """Return the result of one item."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[Result] = loop.create_future()
        self._waiting[result] = _Waiting(item, copy_context())
        self._begin(loop)
        try:
            return await result
        finally:
            self._waiting.pop(result, None)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._waiting or self._beginning or len(self._running) >= self._max_concurrent:
            return
        self._beginning = True
        loop.call_soon(self._next, loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        """Call with what has come by the time that the event loop gets to it: what comes at once is one batch."""
        self._beginning = False
        while len(self._running) < self._max_concurrent and (batch := self._taken()):
            # What several callers share is logged and traced for none of them.
            context = next(iter(batch.values())).context if len(batch) == 1 else Context()
            running = loop.create_task(self._run(batch), context=context)
            self._running.add(running)
            running.add_done_callback(self._ended)
        self._end_if_idle()

    def _taken(self) -> _Batch[Result, Item]:
        """Return what the next call is of, which waits no longer; what no caller waits for is left out."""
        self._waiting = {result: each for result, each in self._waiting.items() if not result.done()}
        most = self._max_batch
        if self._spread:
            most = min(most, math.ceil(len(self._waiting) / (self._max_concurrent - len(self._running))))
        batch, weight = dict[asyncio.Future[Result], _Waiting[Item]](), 0.0
        for result, each in self._waiting.items():
            weight += self._weigh(each.item)
            if batch and (len(batch) >= most or weight > 1):
                break
            batch[result] = each
        for result in batch:
            del self._waiting[result]
        return batch

    async def _run(self, batch: _Batch[Result, Item]) -> None:
        try:
            with isolated():
                results = await self._call([each.item for each in batch.values()])
        except Exception as error:  # noqa: BLE001 - it is raised for each of the callers
            if self._repeatable and len(batch) > 1 and not isinstance(error, TRANSIENT):
                for result, each in batch.items():
                    if not result.done():
                        await self._run({result: each})
                return
            for waiting in batch:
                if not waiting.done():
                    waiting.set_exception(error)
            return
        for waiting, found in zip(batch, results, strict=True):
            if not waiting.done():
                waiting.set_result(found)

    def _ended(self, running: asyncio.Task[None]) -> None:
        self._running.discard(running)
        self._begin(running.get_loop())
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        if not (self._waiting or self._running or self._beginning):
            self._idle()


class BatchedByKey(Generic[Key, Item, Result]):
    """`Batched` for each key, such as a project, while it has calls: what comes for one waits for no other.

    `call` gets the key first; the rest is as for `Batched`.
    """

    def __init__(
        self, call: Callable[[Key, Sequence[Item]], Awaitable[Sequence[Result]]], **options: Unpack[BatchOptions]
    ) -> None:
        self._call = call
        self._options = options
        self._of_key: dict[Key, Batched[Item, Result]] = {}

    async def __call__(self, key: Key, item: Item) -> Result:
        """Return the result of one item of a key."""
        batched = self._of_key.get(key)
        if batched is None:
            # Forgotten only when no call runs: callers that leave would have calls of others begin beside theirs.
            batched = Batched(partial(self._call, key), idle=partial(self._forget, key), **self._options)
            self._of_key[key] = batched
        return await batched(item)

    def _forget(self, key: Key) -> None:
        del self._of_key[key]


async def each_of(
    call: Callable[[Item], Awaitable[None]], items: Sequence[Item], *, max_concurrent: int = _MAX_TOGETHER
) -> None:
    """Call with each of the items, some at the same time; all calls that were begun have ended when this does.

    Raises:
        whatever the first call that fails does; no further ones are begun then.

    """
    for start in range(0, len(items), max_concurrent):
        calls = (call(item) for item in items[start : start + max_concurrent])
        for done in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(done, BaseException):
                raise done
