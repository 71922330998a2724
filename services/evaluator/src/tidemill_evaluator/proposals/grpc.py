"""SuiteProposalService."""

from dataclasses import dataclass

from tidemill.evaluator.v1 import suite_proposal_service_pb2 as pb
from tidemill.evaluator.v1.suite_proposal_service_pb2_grpc import SuiteProposalServiceServicer
from tidemill_evaluator.proposals.crud import ProposalCrud
from tidemill_evaluator.proposals.decide_proposal import AcceptProposal, RefuseProposal
from tidemill_evaluator.proposals.messages import candidates_of, proposal_message, proposal_of
from tidemill_evaluator.proposals.propose_cases import ProposeCases
from tidemill_kit.grpc.server import current_caller, page_of, required, write_of

_FILTERS = {"suite": "suite"}


@dataclass(frozen=True, kw_only=True)
class GrpcSuiteProposalService(SuiteProposalServiceServicer):
    """Message -> use case -> message."""

    proposals: ProposalCrud
    propose: ProposeCases
    accept: AcceptProposal
    refuse: RefuseProposal

    async def CreateSuiteProposal(
        self, request: pb.CreateSuiteProposalRequest, _context: object
    ) -> pb.CreateSuiteProposalResponse:
        """See the contract."""
        required(request, "proposal")
        caller = current_caller()
        given = proposal_of(request.proposal, caller.project)
        made, candidates = await self.propose(caller, given, candidates_of(request.candidates), write_of(request))
        return pb.CreateSuiteProposalResponse(proposal=proposal_message(made, candidates))

    async def GetSuiteProposal(
        self, request: pb.GetSuiteProposalRequest, _context: object
    ) -> pb.GetSuiteProposalResponse:
        """See the contract."""
        proposal, candidates = await self.proposals.get(current_caller(), request.id)
        return pb.GetSuiteProposalResponse(proposal=proposal_message(proposal, candidates))

    async def ListSuiteProposals(
        self, request: pb.ListSuiteProposalsRequest, _context: object
    ) -> pb.ListSuiteProposalsResponse:
        """See the contract."""
        page = await self.proposals.list(current_caller(), page_of(request, filters=_FILTERS))
        return pb.ListSuiteProposalsResponse(
            proposals=[*map(proposal_message, page.items)], next_page_token=page.next_token
        )

    async def AcceptSuiteProposal(
        self, request: pb.AcceptSuiteProposalRequest, _context: object
    ) -> pb.AcceptSuiteProposalResponse:
        """See the contract."""
        accepted = await self.accept(
            current_caller(),
            request.id,
            left_out=tuple(request.left_out),
            note=request.note,
            write=write_of(request, etag=request.etag),
        )
        return pb.AcceptSuiteProposalResponse(proposal=proposal_message(accepted))

    async def RefuseSuiteProposal(
        self, request: pb.RefuseSuiteProposalRequest, _context: object
    ) -> pb.RefuseSuiteProposalResponse:
        """See the contract."""
        write = write_of(request, etag=request.etag)
        refused = await self.refuse(current_caller(), request.id, note=request.note, write=write)
        return pb.RefuseSuiteProposalResponse(proposal=proposal_message(refused))

    async def DeleteSuiteProposal(
        self, request: pb.DeleteSuiteProposalRequest, _context: object
    ) -> pb.DeleteSuiteProposalResponse:
        """See the contract."""
        deleted = await self.proposals.delete(current_caller(), request.id, write_of(request))
        return pb.DeleteSuiteProposalResponse(proposal=proposal_message(deleted))
