"""How often something may happen for each of many keys: token buckets, as the generic cell rate algorithm has them."""

import time
from collections import OrderedDict
from collections.abc import Callable

BURST_S = 1.0
"""A key that was quiet for so long may use what it saved at once."""
_ROUNDING_S = 1e-6
MAX_KEYS = 100_000
"""Of those that are not full; above it the one that was used longest ago is forgotten."""


class Rates:
    """Allows `per_minute` requests of each key, and what a quiet `BURST_S` saved of them at once; 0 allows any number.

    A bucket is one number (ITU-T I.371): when it will be full again. Full ones are forgotten, so that memory is bounded
    by the keys that were used within the last seconds.
    """

    def __init__(self, per_minute: float, *, now: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._interval_s = 60.0 / per_minute if per_minute else 0.0
        self._burst_s = max(BURST_S, self._interval_s)
        self._now = now
        self._full_at = OrderedDict[str, float]()

    def __len__(self) -> int:
        """Return how many keys are remembered."""
        return len(self._full_at)

    def wait_s(self, key: str) -> float:
        """Return how long until one more is allowed, 0 if one is now."""
        full_in_s = self._full_at.get(key, 0.0) - self._now()
        wait_s = full_in_s + self._interval_s - self._burst_s
        return wait_s if wait_s > _ROUNDING_S else 0.0

    def take(self, key: str) -> None:
        """Count one, which may also be more than is allowed."""
        if not self._interval_s:
            return
        now = self._now()
        self._full_at[key] = max(now, self._full_at.get(key, 0.0)) + self._interval_s
        self._full_at.move_to_end(key)
        for _ in range(2):  # faster than they come
            oldest, full_at = next(iter(self._full_at.items()))
            if full_at > now and len(self._full_at) <= MAX_KEYS:
                break
            del self._full_at[oldest]
