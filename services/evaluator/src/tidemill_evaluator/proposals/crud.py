"""Use cases: get, list and delete proposals."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_core import resources
from tidemill_core.application import Caller, Page, PageRequest
from tidemill_core.resources import Write
from tidemill_evaluator.errors import ProposalInterrupted
from tidemill_evaluator.proposals.domain.candidate import Candidate
from tidemill_evaluator.proposals.domain.proposal import Proposal, ProposalState
from tidemill_evaluator.proposals.ports import Proposals, ProposedCases


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalCrud:
    """Proposals emit no events."""

    proposals: Proposals
    proposed: ProposedCases

    async def get(self, caller: Caller, proposal_id: str) -> tuple[Proposal, Sequence[Candidate]]:
        """Return a proposal with its candidates, none once it is decided.

        Raises:
            ProposalNotFound: there is none.

        """
        proposal = await self.proposals.get(caller.project, proposal_id)
        return proposal, await self.proposed.read(caller.project, proposal_id)

    async def list(self, caller: Caller, page: PageRequest) -> Page[Proposal]:
        """Return a page."""
        return await self.proposals.list(caller.project, page=page)

    async def delete(self, caller: Caller, proposal_id: str, write: Write) -> Proposal:
        """Return the deleted proposal; cases that a suite took from it stay there.

        Raises:
            ProposalNotFound: there is none.
            ProposalInterrupted: it is being accepted.
            Conflict: it changed since the etag.

        """

        def check(proposal: Proposal) -> None:
            if proposal.state is ProposalState.ACCEPTING:
                raise ProposalInterrupted(proposal.id)

        deleted = await resources.delete(self.proposals, caller.project, proposal_id, write, change=check)
        if not write.validate_only:
            await self.proposed.forget(caller.project, proposal_id)
        return deleted
