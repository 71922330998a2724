"""The candidates of a proposal that a caller may read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tidemill_core.application import Caller
from tidemill_evaluator.proposals.domain.candidate import Candidate
from tidemill_evaluator.proposals.domain.proposal import Proposal
from tidemill_evaluator.proposals.ports import ProposedCases
from tidemill_evaluator.suites.ports import Restricted
from tidemill_evaluator.suites.readable import readable


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCandidates:
    """They are shown as the cases of a suite are that it has of proposals."""

    proposed: ProposedCases
    restricted: Restricted

    async def __call__(self, caller: Caller, proposal: Proposal) -> Sequence[Candidate]:
        """Return the stored ones, none of a decided proposal.

        Raises:
            DependencyUnavailable: ingest, which knows the readers, does not answer.

        """
        if proposal.decided:
            return []
        candidates = await self.proposed.read(proposal.project, proposal.id)
        known = await readable(self.restricted, caller, [each.case for each in candidates])
        return [replace(each, case=known[each.case.id]) for each in candidates if each.case.id in known]
