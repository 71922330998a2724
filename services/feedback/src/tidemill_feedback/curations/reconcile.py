"""Finds the curations that their controller reconciles."""

from dataclasses import dataclass

from tidemill_core.application import Clock, Page
from tidemill_feedback.curations.domain.ledger import CurationRef
from tidemill_feedback.curations.ports import Curations, Ledger


@dataclass(slots=True, kw_only=True)
class PendingCurations:
    """Implements `controller.Pending`: all curations after the start, then those that changed or are due.

    At first that includes deleted ones with rows left, for which no event enqueues them.
    """

    curations: Curations
    ledger: Ledger
    clock: Clock
    _all_found: bool = False

    async def __call__(self, _token: str, /, *, without: frozenset[str]) -> Page[CurationRef]:
        """See `controller.Pending`."""
        if self._all_found:
            found = await self.ledger.pending_curations(self.clock.now())
        else:
            found = [*await self.curations.all(), *await self.ledger.kept()]
            self._all_found = not without
        return Page(items=[ref for ref in dict.fromkeys(found) if ref.project not in without])
