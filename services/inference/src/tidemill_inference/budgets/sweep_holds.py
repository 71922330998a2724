"""Charge what processes that died had reserved, and remove counts of windows that have ended."""

from dataclasses import dataclass
from typing import Protocol

from tidemill_core.application import Clock
from tidemill_inference.budgets.domain.budget import Amounts
from tidemill_inference.budgets.ports import Ledger

_BATCH = 200


class EndedRecords(Protocol):
    """Records of answers, which say what was used where their process died before it charged."""

    async def used(self, project: str, inference: str, hold: str) -> Amounts | None:
        """Return what an answer used; None where no completed record is of this reservation."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepHolds:
    """What a process that died has spent is what its record says; without one, all that it had reserved.

    A limit so never gives out twice what may have been paid for.
    """

    ledger: Ledger
    records: EndedRecords
    clock: Clock

    async def charge_ended(self) -> int:
        """Charge a batch; return how many."""
        ended = await self.ledger.ended(self.clock.now(), limit=_BATCH)
        for each in ended:
            await self.ledger.close(each, await self.records.used(each.project, each.inference, each.hold))
        return len(ended)

    async def remove_old(self) -> int:
        """Remove counts whose windows have ended; return how many."""
        removed = 0
        while some := await self.ledger.remove_old(self.clock.now(), limit=_BATCH):
            removed += some
        return removed
