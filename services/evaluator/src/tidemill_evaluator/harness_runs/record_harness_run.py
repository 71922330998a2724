"""Use case: record a run of a harness that has ended."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tidemill_core.application import Caller, Clock, Request
from tidemill_core.errors import AlreadyExists, RequestIdReused, Violation
from tidemill_core.resources import refuse
from tidemill_evaluator.errors import HarnessRunNotFound
from tidemill_evaluator.harness_runs.domain.harness_run import HarnessRun
from tidemill_evaluator.harness_runs.ports import Deployments, HarnessRuns, Reports

_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordHarnessRun:
    """The id derives from the request id, so a repeated request records nothing twice, and stores its report again.

    The run names its report before that is stored, and is read again after: what erases reports finds every one, also
    one that is being stored meanwhile. No report is stored of a deployment that changed: whose passages it has, which
    go with their documents, is not known.
    """

    runs: HarnessRuns
    deployments: Deployments
    reports: Reports
    max_report_bytes: int
    clock: Clock

    async def __call__(
        self, caller: Caller, given: HarnessRun, report: bytes, *, request: Request, validate_only: bool = False
    ) -> HarnessRun:
        """Return the run, with the model version that was live.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            NotFound: there is no such deployment, or the run was erased meanwhile.

        """
        refuse(self._violations(given, report))
        live = await self.deployments.live(caller, given.deployment)
        run = replace(given, project=caller.project, pending=[])
        now = self.clock.now()
        run.record(live, request_id=request.id, asked_by=request.digest, requester=caller.proven_subject, now=now)
        if report:
            run.name_report(await self.reports.name(run.project, run.id, report), live, now=now)
        if validate_only:
            return run
        return await self._stored(await self._add(run, request), report)

    async def _add(self, run: HarnessRun, request: Request) -> HarnessRun:
        try:
            return await self.runs.add(run, request=request)
        except AlreadyExists:  # the aggregate's request log has expired
            stored = await self.runs.get(run.project, run.id)
            if stored.asked_by != request.digest:
                raise RequestIdReused(request.id) from None
            return stored

    async def _stored(self, run: HarnessRun, report: bytes) -> HarnessRun:
        """Store the report, unless it was erased since the request was first sent."""
        if run.readable is None:
            return run
        await self.reports.put(run.project, run.id, report)
        try:
            now = await self.runs.get(run.project, run.id)
        except HarnessRunNotFound:  # erased meanwhile, with its project
            await self.reports.remove(run.project, run.id)
            raise
        if now.readable is None:
            await self.reports.remove(run.project, run.id)
        return now

    def _violations(self, given: HarnessRun, report: bytes) -> Iterator[Violation]:
        yield from given.violations()
        if len(report) > self.max_report_bytes:
            text = (
                f"has {len(report)} bytes, and {self.max_report_bytes} is the limit: ask for fewer tests, or send none"
            )
            yield Violation("report", text)
        if report and not report.startswith(_GZIP):
            yield Violation("report", "is not compressed by gzip")
