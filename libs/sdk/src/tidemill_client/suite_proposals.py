"""Cases that are proposed for suites, and accepted or refused."""

from collections.abc import AsyncIterator, Sequence

from tidemill.evaluator.v1.suite_proposal_pb2 import ProposedCase, SuiteProposal
from tidemill.evaluator.v1.suite_proposal_service_pb2 import (
    AcceptSuiteProposalRequest,
    CreateSuiteProposalRequest,
    DeleteSuiteProposalRequest,
    GetSuiteProposalRequest,
    ListSuiteProposalsRequest,
    RefuseSuiteProposalRequest,
)
from tidemill_client.connection import Connection
from tidemill_client.pages import each, filter_of


class SuiteProposals:
    """The proposals of a project. A suite takes the cases of one when that is accepted, as its next version."""

    def __init__(self, connection: Connection) -> None:
        self._stub = connection.suite_proposals

    async def propose(
        self,
        proposal: SuiteProposal,
        candidates: Sequence[ProposedCase] = (),
        *,
        request_id: str = "",
        validate_only: bool = False,
    ) -> SuiteProposal:
        """Propose these candidates, or live answers where the proposal says so; returns it with what was refused."""
        request = CreateSuiteProposalRequest(
            proposal=proposal, candidates=candidates, request_id=request_id, validate_only=validate_only
        )
        return (await self._stub.CreateSuiteProposal(request)).proposal

    async def get(self, proposal: str) -> SuiteProposal:
        """Return a proposal with its candidates, which are forgotten once it is decided."""
        return (await self._stub.GetSuiteProposal(GetSuiteProposalRequest(id=proposal))).proposal

    def all(self, *, suite: str = "") -> AsyncIterator[SuiteProposal]:
        """Yield the proposals without candidates, oldest first."""
        request = ListSuiteProposalsRequest(filter=filter_of(suite=suite))
        return each(self._stub.ListSuiteProposals, request, lambda page: page.proposals)

    async def accept(
        self, proposal: str, *, left_out: Sequence[str] = (), note: str = "", etag: str = ""
    ) -> SuiteProposal:
        """Have the suite take the proposed cases but those left out; returns it with the suite's version."""
        request = AcceptSuiteProposalRequest(id=proposal, left_out=left_out, note=note, etag=etag)
        return (await self._stub.AcceptSuiteProposal(request)).proposal

    async def refuse(self, proposal: str, *, note: str = "", etag: str = "") -> SuiteProposal:
        """Have the suite take none of the cases."""
        request = RefuseSuiteProposalRequest(id=proposal, note=note, etag=etag)
        return (await self._stub.RefuseSuiteProposal(request)).proposal

    async def delete(self, proposal: str) -> SuiteProposal:
        """Delete a proposal; cases that a suite took from it stay there."""
        return (await self._stub.DeleteSuiteProposal(DeleteSuiteProposalRequest(id=proposal))).proposal
