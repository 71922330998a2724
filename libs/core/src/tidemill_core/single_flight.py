"""Work that is done once for all who ask for it at the same time."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from typing import Any, Generic, TypeVar

from tidemill_core.deadlines import begin_shared

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class SingleFlight(Generic[Key, Result]):
    """Of several who ask for the same at the same time one begins the work, and all get its result or its error.

    A caller that is cancelled leaves the work to go on for the others. What has ended is not kept.
    """

    def __init__(self, name: str) -> None:
        """Prepare; `name` is that of the tasks."""
        self._name = name
        self._under_way: dict[Key, asyncio.Task[Result]] = {}

    async def __call__(self, key: Key, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Return what comes of the work that is under way for this key, or else of `work`."""
        return await asyncio.shield(self.begin(key, work))

    def begin(self, key: Key, work: Callable[[], Coroutine[Any, Any, Result]]) -> asyncio.Task[Result]:
        """Return the task of what is under way for this key; begin `work` where nothing is."""
        if (task := self._under_way.get(key)) is None:
            task = self._under_way[key] = begin_shared(work(), name=self._name)
            task.add_done_callback(partial(self._ended, key))
        return task

    def is_current(self, key: Key) -> bool:
        """Return, to the work itself, whether those who ask for this key now still get its result."""
        return self._under_way.get(key) is asyncio.current_task()

    def forget(self, key: Key) -> None:
        """Let those who ask for this key from now on begin anew: what is under way may be from before a change."""
        self._under_way.pop(key, None)

    def forget_all(self) -> None:
        """Let all who ask from now on begin anew."""
        self._under_way.clear()

    def _ended(self, key: Key, task: asyncio.Task[Result]) -> None:
        if self._under_way.get(key) is task:
            del self._under_way[key]
        if not task.cancelled():
            task.exception()  # those who wait for it get it, and there may be none left
