"""Retries of streaming uploads; unary calls are retried by the channel."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tidemill_core.errors import DependencyUnavailable

T = TypeVar("T")

PAUSES_S = (0.2, 1.0, 3.0, 6.0, 9.0)
"""Together longer than a service needs to start again."""


async def persistently(attempt: Callable[[], Awaitable[T]]) -> T:
    """Run the attempt, and retry it a few times on UNAVAILABLE.

    A stream's messages are made anew by every attempt, which a channel cannot do: it forgets them once they are many.

    Raises:
        DependencyUnavailable: the last attempt's.

    """
    for pause_s in PAUSES_S:
        try:
            return await attempt()
        except DependencyUnavailable:
            await asyncio.sleep(pause_s)
    return await attempt()
