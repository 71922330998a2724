"""SuiteService."""

from dataclasses import dataclass

from tidemill.evaluator.v1 import suite_service_pb2 as pb
from tidemill.evaluator.v1.suite_service_pb2_grpc import SuiteServiceServicer
from tidemill_evaluator.suites.crud import CHANGEABLE, SuiteCrud
from tidemill_evaluator.suites.messages import cases_of, shipped_message, suite_message, suite_of
from tidemill_kit.grpc.server import current_caller, page_of, paths_of, required, write_of


@dataclass(frozen=True, kw_only=True)
class GrpcSuiteService(SuiteServiceServicer):
    """Message -> use case -> message."""

    suites: SuiteCrud

    async def CreateSuite(self, request: pb.CreateSuiteRequest, _context: object) -> pb.CreateSuiteResponse:
        """See the contract."""
        required(request, "suite")
        caller = current_caller()
        suite, cases = suite_of(request.suite, caller.project), cases_of(request.suite)
        created = await self.suites.create(caller, suite, cases, write_of(request))
        return pb.CreateSuiteResponse(suite=suite_message(created, cases))

    async def GetSuite(self, request: pb.GetSuiteRequest, _context: object) -> pb.GetSuiteResponse:
        """See the contract."""
        suite, cases = await self.suites.get(current_caller(), request.id)
        return pb.GetSuiteResponse(suite=suite_message(suite, cases))

    async def ListSuites(self, request: pb.ListSuitesRequest, _context: object) -> pb.ListSuitesResponse:
        """See the contract."""
        page = await self.suites.list(current_caller(), page_of(request, filters={}))
        return pb.ListSuitesResponse(
            suites=[suite_message(suite) for suite in page.items], next_page_token=page.next_token
        )

    async def ListShippedSuites(
        self, request: pb.ListShippedSuitesRequest, _context: object
    ) -> pb.ListShippedSuitesResponse:
        """See the contract."""
        page = await self.suites.list_shipped(current_caller(), page_of(request, filters={}))
        suites = [shipped_message(suite) for suite in page.items]
        return pb.ListShippedSuitesResponse(suites=suites, next_page_token=page.next_token)

    async def UpdateSuite(self, request: pb.UpdateSuiteRequest, _context: object) -> pb.UpdateSuiteResponse:
        """See the contract."""
        required(request, "suite")
        caller = current_caller()
        suite, cases = suite_of(request.suite, caller.project), cases_of(request.suite)
        fields, write = paths_of(request.update_mask, allowed=CHANGEABLE), write_of(request, etag=request.suite.etag)
        kept = request.keep_proposed_cases
        updated = await self.suites.update(caller, suite, cases, fields, write, keep_proposed=kept)
        return pb.UpdateSuiteResponse(suite=suite_message(updated))

    async def DeleteSuite(self, request: pb.DeleteSuiteRequest, _context: object) -> pb.DeleteSuiteResponse:
        """See the contract."""
        deleted = await self.suites.delete(current_caller(), request.id, write_of(request))
        return pb.DeleteSuiteResponse(suite=suite_message(deleted))
