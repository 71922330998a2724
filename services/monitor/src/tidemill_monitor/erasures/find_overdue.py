"""Use case: find erasures that are overdue."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_core.application import Clock
from tidemill_monitor.erasures.domain.erasure import Erasure, ErasureState
from tidemill_monitor.erasures.ports import DueErasures
from tidemill_monitor.erasures.read_erasures import ReadErasures

_LIMIT = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class FindOverdue:
    """What is held is not overdue: it waits for a person."""

    due: DueErasures
    read: ReadErasures
    clock: Clock

    async def __call__(self) -> Sequence[Erasure]:
        """Return those that are overdue, the oldest first, and at most 1000."""
        due = await self.due.pending_before(self.clock.now(), limit=_LIMIT)
        found = await self.read.overviews(due)
        return [each.erasure for each in found if each.state is ErasureState.PENDING]
