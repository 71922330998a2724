"""Work that costs less together: what comes one after the other goes on in rounds."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Rounds(Generic[Item]):
    """Lets what comes go on: at once where the last round is `every_s` ago, else with all that comes until then.

    A round begins early where `full` wait for it, so that it delays nothing where much comes. It does not ask what
    became of those that went on: one that takes long holds up no other.
    """

    def __init__(self, go_on: Callable[[Item], None], *, every_s: float, full: int) -> None:
        self._go_on = go_on
        self._every_s = every_s
        self._full = full
        self._next = 0.0
        self._waiting: list[Item] = []
        self._timer: asyncio.TimerHandle | None = None

    def join(self, item: Item) -> None:
        """Let the item go on when a round begins."""
        loop = asyncio.get_running_loop()
        self._waiting.append(item)
        if len(self._waiting) >= self._full or (self._timer is None and loop.time() >= self._next):
            self._begin()
        elif self._timer is None:
            self._timer = loop.call_at(self._next, self._begin)

    def end(self) -> None:
        """Let go on what waits, and from now on what comes, at once."""
        self._every_s = self._next = 0.0
        if self._waiting:
            self._begin()

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        self._next = asyncio.get_running_loop().time() + self._every_s
        for item in waiting:
            self._go_on(item)
