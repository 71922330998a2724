"""Runs of public evaluation harnesses (garak, lm-evaluation-harness) against deployments."""

import gzip
import io
from collections.abc import AsyncIterator

from tidemill.evaluator.v1.harness_run_pb2 import HarnessRun
from tidemill.evaluator.v1.harness_run_service_pb2 import (
    CompareHarnessRunsRequest,
    CompareHarnessRunsResponse,
    GetHarnessReportRequest,
    GetHarnessRunRequest,
    ListHarnessRunsRequest,
    RecordHarnessRunRequest,
)
from tidemill_client.connection import Connection
from tidemill_client.pages import each, filter_of
from tidemill_core.errors import InvalidInput

MAX_REPORT_BYTES = 512 * 1024 * 1024
"""Of a report that is unpacked: one that was made to be larger is refused."""


class HarnessRuns:
    """The runs of harnesses of a project."""

    def __init__(self, connection: Connection) -> None:
        self._stub = connection.harness_runs

    async def record(self, run: HarnessRun, report: bytes = b"", *, request_id: str = "") -> HarnessRun:
        """Record a run that has ended, with its report as the harness wrote it; the same request id records it once."""
        packed = gzip.compress(report, mtime=0) if report else b""
        request = RecordHarnessRunRequest(run=run, report=packed, request_id=request_id)
        return (await self._stub.RecordHarnessRun(request)).run

    async def get(self, run: str) -> HarnessRun:
        """Return a run with its scores."""
        return (await self._stub.GetHarnessRun(GetHarnessRunRequest(id=run))).run

    def all(self, *, deployment: str = "") -> AsyncIterator[HarnessRun]:
        """Yield the runs, oldest first."""
        request = ListHarnessRunsRequest(filter=filter_of(deployment=deployment))
        return each(self._stub.ListHarnessRuns, request, lambda page: page.runs)

    async def compare(self, baseline: str, candidate: str) -> CompareHarnessRunsResponse:
        """Return how the scores of two runs differ."""
        request = CompareHarnessRunsRequest(baseline=baseline, candidate=candidate)
        return await self._stub.CompareHarnessRuns(request)

    async def report(self, run: str) -> bytes:
        """Return the report of a run, as the harness wrote it.

        Raises:
            NotFound: it has none any more.
            InvalidInput: it is larger than MAX_REPORT_BYTES.

        """
        packed = (await self._stub.GetHarnessReport(GetHarnessReportRequest(id=run))).report
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            report = file.read(MAX_REPORT_BYTES + 1)
        if len(report) > MAX_REPORT_BYTES:
            raise InvalidInput.at(field="report", text=f"has more than {MAX_REPORT_BYTES} bytes")
        return report
