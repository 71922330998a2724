"""Work in the background as a component: a coroutine that runs for as long as the service does."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Worker:
    """Runs `work`; stopping cancels it. Implements `service.Watched`."""

    def __init__(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.name = name
        self._main = work
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the coroutine as a task."""
        self._task = asyncio.create_task(self._main(), name=self.name)

    async def wait(self) -> None:
        """Return or raise as the coroutine does."""
        if self._task is not None:
            await asyncio.wait([self._task])
            self._task.result()

    async def stop(self) -> None:
        """Cancel the coroutine and wait until it has let go."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
