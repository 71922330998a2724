"""Use case: count a candidate that was compared with the live model on sets of cases."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tidemill_core.application import Caller, Request
from tidemill_evaluator.gates.domain.spending import SpentLevel
from tidemill_evaluator.gates.ports import SpentLevels


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendLevel:
    """Counts by cases and not by gates: two gates on the same cases have one level."""

    levels: SpentLevels

    async def __call__(
        self, caller: Caller, *, baseline: str, candidate: str, case_sets: Collection[str]
    ) -> Mapping[str, int]:
        """Return which candidate it is on each set; one that was counted keeps its number."""
        return {
            case_set: await self._number(SpentLevel.on(caller.project, baseline=baseline, case_set=case_set), candidate)
            for case_set in case_sets
        }

    async def _number(self, level: SpentLevel, candidate: str) -> int:
        spent = await self.levels.upsert(level, lambda level: level.spend(candidate), request=Request.internal())
        return spent.number(candidate)
