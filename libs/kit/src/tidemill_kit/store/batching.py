"""Calls of a store that come while others are in progress, made together."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from typing import Generic, TypeVar

from tidemill_core.errors import TRANSIENT, isolated

Item = TypeVar("Item")
Result = TypeVar("Result")
Key = TypeVar("Key", bound=Hashable)

_MAX_CONCURRENT = 2
_MAX_BATCH = 100
_MAX_TOGETHER = 16


class Batched(Generic[Item, Result]):
    """Gives `call` what comes: at once where nothing is in progress, else all that has come by the end of a call.

    `call` returns a result for each item, in their order. What it raises is raised for each of its items, and a caller
    that is cancelled leaves the call to go on: it is others' too. With `repeatable`, for what may be done twice, a call
    of several that fails otherwise than by a store that is down is made again for each alone: one that cannot be stored
    fails by itself.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        max_concurrent: int = _MAX_CONCURRENT,
        max_batch: int = _MAX_BATCH,
        repeatable: bool = False,
    ) -> None:
        self._call = call
        self._repeatable = repeatable
        self._max_concurrent = max_concurrent
        self._max_batch = max_batch
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._running: set[asyncio.Task[None]] = set()
        self._beginning = False
        """Whether a call is about to begin, with what comes until then."""

    async def __call__(self, item: Item) -> Result:
        """Return the result of one item."""
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, result))
        self._begin()
        return await result

    def _begin(self) -> None:
        if not self._waiting or self._beginning or len(self._running) >= self._max_concurrent:
            return
        self._beginning = True
        running = asyncio.create_task(self._next())
        self._running.add(running)
        running.add_done_callback(self._ended)

    async def _next(self) -> None:
        """Call with what has come by the time that the event loop gets to it: what comes at once is one batch."""
        self._beginning = False
        batch, self._waiting = self._waiting[: self._max_batch], self._waiting[self._max_batch :]
        self._begin()
        await self._run(batch)

    async def _run(self, batch: Sequence[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            with isolated():
                results = await self._call([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - it is raised for each of the callers
            if self._repeatable and len(batch) > 1 and not isinstance(error, TRANSIENT):
                for each in batch:
                    await self._run([each])
                return
            for _, waiting in batch:
                if not waiting.done():
                    waiting.set_exception(error)
            return
        for (_, waiting), result in zip(batch, results, strict=True):
            if not waiting.done():
                waiting.set_result(result)

    def _ended(self, running: asyncio.Task[None]) -> None:
        self._running.discard(running)
        self._begin()


class BatchedByKey(Generic[Key, Item, Result]):
    """`Batched` for each key, such as a project, while it has calls: what comes for one waits for no other.

    `call` gets the key first; the rest is as for `Batched`.
    """

    def __init__(
        self,
        call: Callable[[Key, Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        max_concurrent: int = _MAX_CONCURRENT,
        max_batch: int = _MAX_BATCH,
        repeatable: bool = False,
    ) -> None:
        self._call = call
        self._max_concurrent = max_concurrent
        self._max_batch = max_batch
        self._repeatable = repeatable
        self._calls = Counter[Key]()
        self._of_key: dict[Key, Batched[Item, Result]] = {}

    async def __call__(self, key: Key, item: Item) -> Result:
        """Return the result of one item of a key."""
        batched = self._of_key.get(key)
        if batched is None:
            batched = self._of_key[key] = Batched(
                partial(self._call, key),
                max_concurrent=self._max_concurrent,
                max_batch=self._max_batch,
                repeatable=self._repeatable,
            )
        self._calls[key] += 1
        try:
            return await batched(item)
        finally:
            self._calls[key] -= 1
            if not self._calls[key]:
                del self._calls[key], self._of_key[key]


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
