"""Runs of harnesses on in-memory stores."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from services.evaluator.tests.builders import ADA, BUCKET, DIGEST, TUNED, request
from tidemill_core.application import Caller, ResourceKey
from tidemill_core.errors import NotFound
from tidemill_evaluator.errors import HarnessRunNotFound
from tidemill_evaluator.harness_runs.crud import HarnessRunCrud
from tidemill_evaluator.harness_runs.domain.harness_run import HarnessRun, HarnessTool, Live
from tidemill_evaluator.harness_runs.domain.scores import HarnessScore
from tidemill_evaluator.harness_runs.exchange import ExchangeReports
from tidemill_evaluator.harness_runs.forget_reports import ForgetOldReports, ForgetReports
from tidemill_evaluator.harness_runs.mongo import HARNESS_RUNS
from tidemill_evaluator.harness_runs.record_harness_run import RecordHarnessRun
from tidemill_kit.store.objects import ExchangeBucket
from tidemill_testkit.clocks import NOON, FixedClock
from tidemill_testkit.objects import InMemoryObjects
from tidemill_testkit.stores import InMemoryAggregates

REPORT = b"\x1f\x8b what was asked, and answered"
DAN = HarnessScore(test="dan.Dan_11_0", metric="dan.DAN", passed=8, total=10)


class InMemoryDeployments:
    """Implements `ports.Deployments`."""

    def __init__(self) -> None:
        self.live_ones = {("acme", "helpdesk"): Live(configuration=DIGEST, model=TUNED)}

    async def live(self, caller: Caller, deployment: str) -> Live:
        try:
            return self.live_ones[caller.project, deployment]
        except KeyError:
            raise NotFound(deployment) from None


class InterruptedObjects(InMemoryObjects):
    """Calls what a test sets before it stores an object."""

    before_put: Callable[[], Awaitable[object]] | None = None

    async def put(self, bucket: str, key: str, data: bytes, *, media_type: str) -> None:
        if self.before_put:
            await self.before_put()
        await super().put(bucket, key, data, media_type=media_type)


class InMemoryKeptReports:
    """Implements `ports.KeptReports`, one at a time."""

    def __init__(self, runs: InMemoryAggregates[HarnessRun]) -> None:
        self._runs = runs

    async def with_passages_of(self, project: str) -> Sequence[ResourceKey]:
        return self._keys(lambda run: project in run.passages_of)

    async def older_than(self, project: str, moment: datetime) -> Sequence[ResourceKey]:
        return self._keys(
            lambda run: run.project == project and run.report_time is not None and run.report_time < moment
        )

    def _keys(self, matches: Callable[[HarnessRun], bool]) -> Sequence[ResourceKey]:
        found = [each for each in self._runs.all() if each.report and matches(each)]
        return [ResourceKey(project=each.project, id=each.id) for each in found[:1]]


class Recorder:
    """The use cases on in-memory stores."""

    def __init__(self) -> None:
        self.clock = FixedClock()
        self.runs = InMemoryAggregates[HarnessRun](codec=HARNESS_RUNS, missing=HarnessRunNotFound, clock=self.clock)
        self.deployments = InMemoryDeployments()
        self.objects = InterruptedObjects(BUCKET)
        self.reports = ExchangeReports(ExchangeBucket(self.objects, BUCKET))
        self.record = RecordHarnessRun(
            runs=self.runs, deployments=self.deployments, reports=self.reports, max_report_bytes=1024, clock=self.clock
        )
        self.crud = HarnessRunCrud(runs=self.runs, reports=self.reports)
        self.kept = InMemoryKeptReports(self.runs)
        self.forget = ForgetReports(runs=self.runs, reports=self.reports, kept=self.kept)

    async def recorded(
        self, *scores: HarnessScore, tool: HarnessTool = HarnessTool.GARAK, report: bytes = b""
    ) -> HarnessRun:
        return await self.record(ADA, run_of(*scores or (DAN,), tool=tool), report, request=request())

    def forget_old(self, *, age: timedelta, spared: Sequence[str] = ()) -> ForgetOldReports:
        return ForgetOldReports(
            forget=self.forget,
            kept=self.kept,
            ages=lambda: {"acme": age},
            spares=lambda project: project in spared,
            clock=self.clock,
        )

    @property
    def stored(self) -> list[bytes]:
        return list(self.objects.buckets[BUCKET].values())


def run_of(
    *scores: HarnessScore, tool: HarnessTool = HarnessTool.GARAK, configuration: str = DIGEST, reason: str = ""
) -> HarnessRun:
    """Return what a client sends."""
    return HarnessRun(
        id="",
        project="acme",
        tool=tool,
        tool_version="0.17.1",
        deployment="helpdesk",
        configuration=configuration,
        tests=("dan",),
        scores=scores,
        reason=reason,
        start_time=NOON,
        end_time=NOON + timedelta(minutes=3),
    )
