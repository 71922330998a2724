"""PromptTestService."""

from dataclasses import dataclass

from tidemill.evaluator.v1 import prompt_test_service_pb2 as pb
from tidemill.evaluator.v1.prompt_test_service_pb2_grpc import PromptTestServiceServicer
from tidemill_evaluator.prompt_tests.crud import PromptTestCrud
from tidemill_evaluator.prompt_tests.list_prompt_results import ListPromptResults, ListPromptResultsCommand
from tidemill_evaluator.prompt_tests.messages import grid_of, listed_message, prompt_test_message, result_message
from tidemill_evaluator.prompt_tests.start_prompt_test import StartPromptTest
from tidemill_kit.grpc.lists import Order
from tidemill_kit.grpc.server import current_caller, page_of, request_of

_FILTERS = {"suite": "suite"}
_VALUE = Order("value", "lowest first", "highest first")


@dataclass(frozen=True, kw_only=True)
class GrpcPromptTestService(PromptTestServiceServicer):
    """Message -> use case -> message."""

    tests: PromptTestCrud
    start: StartPromptTest
    list_results: ListPromptResults

    async def StartPromptTest(self, request: pb.StartPromptTestRequest, _context: object) -> pb.StartPromptTestResponse:
        """See the contract."""
        started = await self.start(
            current_caller(), grid_of(request), request=request_of(request), validate_only=request.validate_only
        )
        return pb.StartPromptTestResponse(test=prompt_test_message(started))

    async def GetPromptTest(self, request: pb.GetPromptTestRequest, _context: object) -> pb.GetPromptTestResponse:
        """See the contract."""
        found = await self.tests.get(current_caller(), request.id)
        return pb.GetPromptTestResponse(test=prompt_test_message(found))

    async def ListPromptTests(self, request: pb.ListPromptTestsRequest, _context: object) -> pb.ListPromptTestsResponse:
        """See the contract."""
        page = await self.tests.list(current_caller(), page_of(request, filters=_FILTERS))
        return pb.ListPromptTestsResponse(
            tests=[listed_message(each) for each in page.items], next_page_token=page.next_token
        )

    async def CancelPromptTest(
        self, request: pb.CancelPromptTestRequest, _context: object
    ) -> pb.CancelPromptTestResponse:
        """See the contract."""
        cancelled = await self.tests.cancel(current_caller(), request.id, request=request_of(request))
        return pb.CancelPromptTestResponse(test=prompt_test_message(cancelled))

    async def ListPromptResults(
        self, request: pb.ListPromptResultsRequest, _context: object
    ) -> pb.ListPromptResultsResponse:
        """See the contract."""
        asked = page_of(request, filters={}, order=_VALUE)
        command = ListPromptResultsCommand(
            test=request.test, page=asked, metric=request.metric, highest_first=asked.newest_first
        )
        page = await self.list_results(current_caller(), command)
        return pb.ListPromptResultsResponse(
            results=[result_message(each) for each in page.items], next_page_token=page.next_token
        )
