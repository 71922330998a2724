"""A lock that threads get in the order in which they came."""

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TypeVar

_Part = TypeVar("_Part")

LONGEST_TURN_S = 0.05
"""For which a command with more to do has a lock before others have their turn."""


class Turns:
    """A lock that goes to who has waited longest.

    Python's own may be had again by the thread that gives it back, before one that waits runs: what takes and gives it
    back part by part would let no other in between.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._held = False
        self._waiting = deque[threading.Lock]()

    def __enter__(self) -> None:
        """Wait for the lock."""
        with self._changing:
            if not self._held:
                self._held = True
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        turn.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Hand the lock to the next thread; it is held all the time in between."""
        with self._changing:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._held = False

    @property
    def waiting(self) -> int:
        """How many threads wait."""
        return len(self._waiting)


def in_turns(
    ahead: deque[_Part],
    do: Callable[[_Part], None],
    turn: Callable[[], AbstractContextManager[None]],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Do what is ahead, part by part, and let others have a turn in between; `do` may take away what is ahead.

    A turn lasts as long as was waited for it, and one part at least: beside many others each of which is short, a
    long command takes twice its own time, and not as many waits as it has parts.
    """
    while ahead:
        asked_at = clock()
        with turn():
            until = (begun_at := clock()) + min(begun_at - asked_at, LONGEST_TURN_S)
            while ahead:
                do(ahead.popleft())
                if clock() >= until:
                    break
