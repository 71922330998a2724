"""Polling of long-running work."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tidemill_core.errors import DeadlineExceeded

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
    """Poll until the state is `done`, and return it; `watch` is called with each polled state.

    Raises:
        DeadlineExceeded: `within_s` has passed; the work continues.

    """
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    while True:
        state = await read()
        watch(state)
        if done(state):
            return state
        if loop.time() >= end:
            message = f"waited {within_s:.0f} s for {what}; it continues in the background"
            raise DeadlineExceeded(message)
        await asyncio.sleep(POLL_S)
