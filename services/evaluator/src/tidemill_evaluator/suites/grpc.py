"""SuiteService."""

from tidemill.evaluator.v1 import suite_service_pb2 as pb
from tidemill.evaluator.v1.suite_service_pb2_grpc import SuiteServiceServicer
from tidemill_evaluator.evaluations.messages import cases_of, required, suite_message, suite_of
from tidemill_evaluator.evaluations.ports import Suites
from tidemill_evaluator.suites.crud import (
    CHANGEABLE,
    ChangeSuites,
    CreateSuiteCommand,
    DeleteSuiteCommand,
    UpdateSuiteCommand,
)
from tidemill_kit.grpc.server import current_caller, page_of, paths_of, request_of


class GrpcSuiteService(SuiteServiceServicer):
    """Message -> command -> use case -> message."""

    def __init__(self, *, suites: Suites, changing: ChangeSuites) -> None:
        self._suites = suites
        self._changing = changing

    async def CreateSuite(self, request: pb.CreateSuiteRequest, _context: object) -> pb.CreateSuiteResponse:
        """See the contract."""
        required(request, "suite")
        command = CreateSuiteCommand(
            suite=suite_of(request.suite, current_caller().project),
            cases=cases_of(request.suite),
            request=request_of(request),
            validate_only=request.validate_only,
        )
        return pb.CreateSuiteResponse(suite=suite_message(await self._changing.create(command), command.cases))

    async def GetSuite(self, request: pb.GetSuiteRequest, _context: object) -> pb.GetSuiteResponse:
        """See the contract."""
        suite, cases = await self._changing.read(current_caller(), request.id)
        return pb.GetSuiteResponse(suite=suite_message(suite, cases))

    async def ListSuites(self, request: pb.ListSuitesRequest, _context: object) -> pb.ListSuitesResponse:
        """See the contract."""
        page = await self._suites.list(current_caller().project, page=page_of(request))
        return pb.ListSuitesResponse(
            suites=[suite_message(suite) for suite in page.items], next_page_token=page.next_token
        )

    async def UpdateSuite(self, request: pb.UpdateSuiteRequest, _context: object) -> pb.UpdateSuiteResponse:
        """See the contract."""
        required(request, "suite")
        command = UpdateSuiteCommand(
            suite=suite_of(request.suite, current_caller().project),
            cases=cases_of(request.suite),
            fields=paths_of(request.update_mask, allowed=CHANGEABLE),
            etag=request.suite.etag,
            request=request_of(request),
            validate_only=request.validate_only,
        )
        return pb.UpdateSuiteResponse(suite=suite_message(await self._changing.update(command)))

    async def DeleteSuite(self, request: pb.DeleteSuiteRequest, _context: object) -> pb.DeleteSuiteResponse:
        """See the contract."""
        command = DeleteSuiteCommand(
            suite=request.id, etag=request.etag, request=request_of(request), validate_only=request.validate_only
        )
        return pb.DeleteSuiteResponse(suite=suite_message(await self._changing.delete(current_caller(), command)))
