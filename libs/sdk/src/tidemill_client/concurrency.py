"""Bounded concurrency."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


async def concurrently(
    items: AsyncIterable[A], work: Callable[[A], Awaitable[B]], *, max_concurrent: int
) -> AsyncGenerator[B, None]:
    """Yield the result of `work` for each item, in order of completion; the first error cancels the others.

    Items are read from the iterable on demand. Closing the iterator early (`aclosing`) cancels running work.
    """
    running: set[asyncio.Task[B]] = set()

    async def do(item: A) -> B:
        return await work(item)

    done: set[asyncio.Task[B]] = set()
    try:
        async for item in items:
            running.add(asyncio.create_task(do(item)))
            if len(running) >= max_concurrent:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
        while running:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*done, *running, return_exceptions=True)  # of those that failed together one is raised
