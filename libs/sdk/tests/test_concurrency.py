"""Bounded concurrency: results as they come, and one error for all that fail together."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tidemill_client.concurrency import concurrently
from tidemill_core.errors import DependencyUnavailable


async def test_of_several_that_fail_together_one_is_raised_and_none_is_left_unread() -> None:
    unread: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unread.append(context))
    failing = asyncio.Event()

    async def work(number: int) -> int:
        if number == 3:
            failing.set()
        await failing.wait()
        message = "ingest is starting"
        raise DependencyUnavailable(message, dependency="ingest")

    async def numbers() -> AsyncIterator[int]:
        for number in range(4):
            yield number

    with pytest.raises(DependencyUnavailable):
        _ = [result async for result in concurrently(numbers(), work, max_concurrent=4)]
    gc.collect()
    await asyncio.sleep(0)
    assert unread == []
