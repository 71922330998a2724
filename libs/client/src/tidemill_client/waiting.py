"""Wait for work that a service does by itself."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tidemill_kit.core.errors import DeadlineExceeded

T = TypeVar("T")

POLL_S = 0.5


async def poll(
    read: Callable[[], Awaitable[T]],
    done: Callable[[T], bool],
    *,
    what: str,
    within_s: float,
    watch: Callable[[T], None] = lambda _state: None,
) -> T:
    """Read a state until it is the wanted one, and return it; `watch` is told each state that was read.

    Raises:
        DeadlineExceeded: it did not come within the time; the work goes on by itself.

    """
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    while True:
        state = await read()
        watch(state)
        if done(state):
            return state
        if loop.time() >= end:
            message = f"waited {within_s:.0f} s for {what}; it goes on by itself"
            raise DeadlineExceeded(message)
        await asyncio.sleep(POLL_S)
