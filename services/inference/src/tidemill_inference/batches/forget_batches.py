"""Remove batches some time after their end, as their files are."""

from dataclasses import dataclass
from datetime import timedelta

from tidemill_core.application import Clock
from tidemill_inference.batches.ports import OldBatches, Results
from tidemill_inference.files.ports import Retained

_BATCH_SIZE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetBatches:
    """A batch has no text, and its files go by themselves; nothing of a project that is held."""

    batches: OldBatches
    results: Results
    retained: Retained
    clock: Clock
    keep: timedelta

    async def __call__(self) -> int:
        """Return how many were removed."""
        removed = 0
        before, spares = self.clock.now() - self.keep, self.retained.spares
        while some := await self.batches.ended_before(before, spares=spares, limit=_BATCH_SIZE):
            for batch in some:
                await self.results.remove(batch)
                await self.batches.remove(batch)
            removed += len(some)
        return removed
