"""Runs of harnesses that were recorded, as evaluator has them."""

from collections.abc import Callable
from typing import Any

from tidemill.evaluator.v1 import harness_run_pb2 as pb
from tidemill.evaluator.v1 import harness_run_service_pb2 as rpc
from tidemill_core.errors import InvalidInput, NotFound

REPORT = bytes.fromhex("1f8b0800000000000203cb48cdc9c957482bcacf55484f2c4acce602001ca75b9d11000000")
SCORE = pb.HarnessScore(test="dan.Dan_11_0", metric="dan.DAN", passed=8, total=10, rate=0.8, low=0.49, high=0.943)
RUN = pb.HarnessRun(
    id="r1",
    tool=pb.HARNESS_TOOL_GARAK,
    tool_version="0.17.1",
    deployment="helpdesk",
    configuration="c1",
    model="small@1",
    state=pb.HARNESS_RUN_STATE_COMPLETED,
    scores=[SCORE],
    confidence=0.95,
    report_bytes=34,
)
MAX_REPORT = 2000


class HarnessAnswers:
    """Keeps what is recorded."""

    def __init__(self) -> None:
        self.recorded: list[rpc.RecordHarnessRunRequest] = []
        self.refuses = self.changed = False

    def answers(self) -> dict[str, Callable[[Any], Any]]:
        service = "evaluator.v1.harness_run_service"
        return {
            f"{service}:RecordHarnessRun": self._record,
            f"{service}:GetHarnessRun": lambda _: rpc.GetHarnessRunResponse(run=RUN),
            f"{service}:ListHarnessRuns": lambda _: rpc.ListHarnessRunsResponse(runs=[RUN]),
            f"{service}:CompareHarnessRuns": _compare,
            f"{service}:GetHarnessReport": lambda _: rpc.GetHarnessReportResponse(report=REPORT),
        }

    def _record(self, request: rpc.RecordHarnessRunRequest) -> rpc.RecordHarnessRunResponse:
        if len(request.report) > MAX_REPORT:
            raise InvalidInput.at(
                field="report", text=f"has {len(request.report)} bytes, and {MAX_REPORT} is the limit"
            )
        if self.refuses:
            raise NotFound("deployment quiet does not exist")  # noqa: EM101, TRY003 - as inference says it
        self.recorded.append(request)
        run = pb.HarnessRun()
        run.CopyFrom(request.run)
        failed = bool(run.reason)
        run.state = pb.HARNESS_RUN_STATE_FAILED if failed else pb.HARNESS_RUN_STATE_COMPLETED
        run.report_bytes = 0 if self.changed else len(request.report)
        return rpc.RecordHarnessRunResponse(run=run)


def _compare(_request: rpc.CompareHarnessRunsRequest) -> rpc.CompareHarnessRunsResponse:
    worse = pb.HarnessComparison(
        test=SCORE.test, metric=SCORE.metric, baseline=SCORE, candidate=SCORE, difference=-0.4, low=-0.7, high=-0.1
    )
    return rpc.CompareHarnessRunsResponse(
        baseline=RUN, candidate=RUN, comparisons=[worse], unmatched=1, confidence=0.95
    )
