"""Polling with progress and a deadline, and bounded concurrency."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar

from tidemill_cli.output import progress
from tidemill_core.errors import DeadlineExceeded

T = TypeVar("T")
A = TypeVar("A")

POLL_S = 0.5
LIMIT_S = 1800.0


async def until(
    poll: Callable[[], Awaitable[T | None]], failure: str, *, waiting: str = "", limit_s: float = LIMIT_S
) -> T:
    """Poll until the result is not None, and return it.

    Raises:
        DeadlineExceeded: the deadline has passed; the message contains `failure`.

    """
    with progress(counted=False) as bar:
        if waiting:
            bar.add_task(waiting, total=None)
        async with patience(failure, limit_s=limit_s):
            while (found := await poll()) is None:  # noqa: ASYNC110 - another process, which sets no event
                await asyncio.sleep(POLL_S)
            return found
    raise AssertionError


@asynccontextmanager
async def patience(failure: str, *, limit_s: float = LIMIT_S) -> AsyncIterator[None]:
    """Run the block with a deadline.

    Raises:
        DeadlineExceeded: the deadline has passed; the message contains `failure`.

    """
    try:
        async with asyncio.timeout(limit_s):
            yield
    except TimeoutError:
        message = f"{failure} within {limit_s:.0f} s: see `tidemill status` and `tidemill loop status helpdesk`"
        raise DeadlineExceeded(message) from None


async def for_each(items: Iterable[A], work: Callable[[A], Awaitable[None]], *, max_concurrent: int) -> None:
    """Do the work for every item, at most `max_concurrent` at the same time.

    An item whose work raises DeadlineExceeded is tried again after the others, with half as many at the same time: a
    busy machine answers fewer in time.

    Raises:
        DeadlineExceeded: not every item is done within `LIMIT_S`.

    """
    pending, limit, reduced_at = deque(items), max_concurrent, 0.0

    async def worker(place: int) -> None:
        nonlocal limit, reduced_at
        while pending and place < limit:
            item, begin = pending.popleft(), time.monotonic()
            try:
                await work(item)
            except DeadlineExceeded:
                pending.append(item)
                if begin >= reduced_at:  # else it began when as many ran as before
                    limit, reduced_at = max(1, limit // 2), time.monotonic()

    async with patience("not every request was answered"):
        while pending:
            async with asyncio.TaskGroup() as group:
                for place in range(limit):
                    group.create_task(worker(place))
