"""Polling of long-running work."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tidemill_core.errors import DeadlineExceeded, DependencyUnavailable

T = TypeVar("T")

POLL_S = 0.5
AWAY_S = 60.0
"""For which a service that has answered may be away, as one that is started again is; the work goes on meanwhile."""


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
        DependencyUnavailable: the service has never answered, or not for `AWAY_S`.

    """
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    answered_at: float | None = None
    while True:
        try:
            state = await read()
        except DependencyUnavailable:
            if answered_at is None or loop.time() >= min(answered_at + AWAY_S, end):
                raise
            await asyncio.sleep(POLL_S)
            continue
        answered_at = loop.time()
        watch(state)
        if done(state):
            return state
        if answered_at >= end:
            message = f"waited {within_s:.0f} s for {what}; it continues in the background"
            raise DeadlineExceeded(message)
        await asyncio.sleep(POLL_S)
