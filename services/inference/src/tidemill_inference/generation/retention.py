"""Remove the records of answers that their project or deployment keeps no longer."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from tidemill_core.application import Clock
from tidemill_inference.generation.ports import Aging, OldRecords, Records, Retained

_BATCH_SIZE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetRecords:
    """Goes by what deployments say, those that were deleted too, and by what projects say: the shorter time counts.

    Nothing is removed of a project in which a legal hold covers something, and no record whose events are not out yet.
    """

    records: Records
    retained: Retained
    clock: Clock
    others: Sequence[Aging] = ()

    async def __call__(self) -> int:
        """Return how many were removed."""
        removed = 0
        async for old in self._old():
            for kind in (self.records, *self.others):
                while not self.retained.spares(old.project) and (some := await kind.remove(old, limit=_BATCH_SIZE)):
                    removed += some
        return removed

    async def _old(self) -> AsyncIterator[OldRecords]:
        for kept in await self.records.limited():
            yield self._before(kept.deployment.project, timedelta(days=kept.days), deployment=kept.deployment.id)
        for project, keep in self.retained.projects().items():
            yield self._before(project, keep)

    def _before(self, project: str, keep: timedelta, *, deployment: str = "") -> OldRecords:
        return OldRecords(project=project, before=self.clock.now() - keep, deployment=deployment)
