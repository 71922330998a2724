"""HarnessRunService."""

from dataclasses import dataclass

from tidemill.evaluator.v1 import harness_run_service_pb2 as pb
from tidemill.evaluator.v1.harness_run_service_pb2_grpc import HarnessRunServiceServicer
from tidemill_evaluator.harness_runs.crud import HarnessRunCrud
from tidemill_evaluator.harness_runs.messages import compared_message, run_message, run_of
from tidemill_evaluator.harness_runs.record_harness_run import RecordHarnessRun
from tidemill_kit.grpc.server import current_caller, page_of, request_of, required

_FILTERS = {"deployment": "deployment"}


@dataclass(frozen=True, kw_only=True)
class GrpcHarnessRunService(HarnessRunServiceServicer):
    """Message -> use case -> message."""

    runs: HarnessRunCrud
    record: RecordHarnessRun

    async def RecordHarnessRun(
        self, request: pb.RecordHarnessRunRequest, _context: object
    ) -> pb.RecordHarnessRunResponse:
        """See the contract."""
        required(request, "run")
        caller = current_caller()
        recorded = await self.record(
            caller,
            run_of(request.run, caller.project),
            request.report,
            request=request_of(request),
            validate_only=request.validate_only,
        )
        return pb.RecordHarnessRunResponse(run=run_message(recorded))

    async def GetHarnessRun(self, request: pb.GetHarnessRunRequest, _context: object) -> pb.GetHarnessRunResponse:
        """See the contract."""
        return pb.GetHarnessRunResponse(run=run_message(await self.runs.get(current_caller(), request.id)))

    async def ListHarnessRuns(self, request: pb.ListHarnessRunsRequest, _context: object) -> pb.ListHarnessRunsResponse:
        """See the contract."""
        page = await self.runs.list(current_caller(), page_of(request, filters=_FILTERS))
        return pb.ListHarnessRunsResponse(runs=[*map(run_message, page.items)], next_page_token=page.next_token)

    async def CompareHarnessRuns(
        self, request: pb.CompareHarnessRunsRequest, _context: object
    ) -> pb.CompareHarnessRunsResponse:
        """See the contract."""
        compared = await self.runs.compare(current_caller(), baseline=request.baseline, candidate=request.candidate)
        return compared_message(compared)

    async def GetHarnessReport(
        self, request: pb.GetHarnessReportRequest, _context: object
    ) -> pb.GetHarnessReportResponse:
        """See the contract."""
        return pb.GetHarnessReportResponse(report=await self.runs.report(current_caller(), request.id))
