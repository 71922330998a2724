"""Places for lines of batches in this process: half of them while live requests run, none while these wait."""

import asyncio
from collections.abc import Callable

from tidemill_inference.batches.ports import LiveTraffic

_POLL_INTERVAL_S = 0.1


class LinePlaces:
    """Implements `ports.Places`, shared by all batches of this process. An answer that was begun is finished."""

    def __init__(self, live: LiveTraffic, *, at_most: int, poll_interval_s: float = _POLL_INTERVAL_S) -> None:
        self._live = live
        self._at_most = at_most
        self._poll_interval_s = poll_interval_s
        self._running = 0

    async def take(self, stopped: Callable[[], bool]) -> bool:
        """See `Places.take`."""
        while not stopped():
            if self._running < self._allowed():
                self._running += 1
                return True
            await asyncio.sleep(self._poll_interval_s)
        return False

    def give(self) -> None:
        """See `Places.give`."""
        self._running -= 1

    def _allowed(self) -> int:
        if self._live.waiting:
            return 0
        return max(1, self._at_most // 2) if self._live.held > self._running else self._at_most
