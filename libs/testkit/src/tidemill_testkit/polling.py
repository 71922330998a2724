"""Waiting for what another task, thread or process will do, on a machine that may be busy."""

import asyncio
import inspect
import time
from collections.abc import Callable

DEADLINE_S = 120.0
_FIRST_PAUSE_S, _MAX_PAUSE_S, _MAX_REST_S = 0.005, 0.1, 1.0
_TURNS = 200


async def run_ready_tasks() -> None:
    """Let the loop's other tasks go on until they wait for a time, a thread or a server."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)


async def eventually(
    condition: Callable[[], object],
    *,
    within_s: float = DEADLINE_S,
    despite: tuple[type[Exception], ...] = (),
) -> None:
    """Return once a condition, which may be awaitable, is true; ask again and again until the deadline.

    It is asked for half of the time at most, since what is waited for needs the processors. Errors in `despite` count
    as not yet.

    Raises:
        AssertionError: it did not come true in time; the last such error is its cause.

    """
    deadline, pause, reason = time.monotonic() + within_s, _FIRST_PAUSE_S, None
    while True:
        asked = time.monotonic()
        try:
            answer = condition()
            if await answer if inspect.isawaitable(answer) else answer:
                return
        except despite as error:
            reason = error
        if (now := time.monotonic()) > deadline:
            message = f"did not come true within {within_s:.0f} s"
            raise AssertionError(message) from reason
        await asyncio.sleep(max(pause, min(now - asked, _MAX_REST_S)))
        pause = min(_MAX_PAUSE_S, pause * 1.2)
