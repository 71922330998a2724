"""Use cases: get, list and delete proposals."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_core import resources
from tidemill_core.application import Caller, Page, PageRequest
from tidemill_core.resources import Write
from tidemill_evaluator.proposals.domain.candidate import Candidate
from tidemill_evaluator.proposals.domain.proposal import Proposal
from tidemill_evaluator.proposals.ports import Proposals, ProposedCases
from tidemill_evaluator.proposals.shown import ShownCandidates


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalCrud:
    """Proposals emit no events."""

    proposals: Proposals
    proposed: ProposedCases
    shown: ShownCandidates

    async def get(self, caller: Caller, proposal_id: str) -> tuple[Proposal, Sequence[Candidate]]:
        """Return a proposal with the candidates that the caller may read, none once it is decided.

        Raises:
            ProposalNotFound: there is none.
            DependencyUnavailable: ingest, which knows the readers, does not answer.

        """
        proposal = await self.proposals.get(caller.project, proposal_id)
        return proposal, await self.shown(caller, proposal)

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
        deleted = await resources.delete(
            self.proposals, caller.project, proposal_id, write, change=Proposal.refuse_interrupted
        )
        if not write.validate_only:
            await self.proposed.forget(caller.project, proposal_id)
        return deleted
