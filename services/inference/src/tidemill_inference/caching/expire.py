"""Remove what has expired."""

from dataclasses import dataclass

from tidemill_core.application import Clock
from tidemill_inference.caching.ports import CachedAnswers

_BATCH_SIZE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveExpired:
    """A sweep; what has expired is given again nowhere before."""

    cached: CachedAnswers
    clock: Clock

    async def __call__(self) -> int:
        """Return how many were removed."""
        removed = 0
        while some := await self.cached.remove_expired(self.clock.now(), limit=_BATCH_SIZE):
            removed += some
        return removed
