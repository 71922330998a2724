"""A lock that threads get in the order in which they came."""

import threading
from collections import deque
from types import TracebackType


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
