"""Remove the records of answers that their deployment keeps no longer."""

from dataclasses import dataclass
from datetime import timedelta

from tidemill_core.application import Clock
from tidemill_inference.generation.ports import Records

_BATCH_SIZE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetRecords:
    """Goes by what deployments say, those that were deleted too; a record whose events are not out yet stays."""

    records: Records
    clock: Clock

    async def __call__(self) -> int:
        """Return how many were removed."""
        removed = 0
        for kept in await self.records.limited():
            before = self.clock.now() - timedelta(days=kept.days)
            while some := await self.records.remove(kept, before=before, limit=_BATCH_SIZE):
                removed += some
        return removed
