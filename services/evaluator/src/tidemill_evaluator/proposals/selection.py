"""Selects candidates in bounded processes: their texts are a caller's."""

from collections.abc import Sequence

from tidemill_core.application import Caller
from tidemill_core.errors import DependencyUnavailable, InvalidInput
from tidemill_evaluator.proposals.domain.candidate import Candidate, ProposalLimits
from tidemill_evaluator.proposals.domain.proposal import Coverage
from tidemill_evaluator.proposals.domain.quality import Selected, selected
from tidemill_evaluator.suites.domain.cases import Case
from tidemill_evaluator.suites.domain.limits import Limits
from tidemill_evaluator.suites.ports import Processes
from tidemill_kit.workers.bounded_processes import WorkEndedError


class BoundedSelection:
    """Implements `ports.Select`."""

    def __init__(self, processes: Processes, *, limits: Limits, rules: ProposalLimits) -> None:
        self._processes, self._limits, self._rules = processes, limits, rules

    async def __call__(
        self, caller: Caller, candidates: Sequence[Candidate], existing: Sequence[Case], coverage: Coverage | None
    ) -> Selected:
        """See `ports.Select`."""
        try:
            return await self._processes.run(
                caller.project, selected, candidates, existing, coverage, self._limits, self._rules
            )
        except WorkEndedError as ended:
            if ended.cause in {"wall", "died"}:
                message = f"comparing candidates {ended.why}"
                raise DependencyUnavailable(message, dependency="evaluator's processes") from ended
            text = f"cannot be compared with the suite's cases: that {ended.why}; send fewer or shorter ones"
            raise InvalidInput.at(field="candidates", text=text) from ended
