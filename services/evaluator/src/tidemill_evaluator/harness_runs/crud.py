"""Use cases: get, list and compare runs of harnesses, and read their reports."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_core.application import Caller, Page, PageRequest
from tidemill_core.errors import NotFound
from tidemill_evaluator.errors import HarnessReportGone, HarnessRunsDiffer
from tidemill_evaluator.harness_runs.domain.harness_run import HarnessRun, HarnessRunState
from tidemill_evaluator.harness_runs.domain.scores import HarnessComparison, compare
from tidemill_evaluator.harness_runs.ports import HarnessRuns, Reports


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRuns:
    """Two runs, the scores that both have, and how many only one of them has."""

    baseline: HarnessRun
    candidate: HarnessRun
    comparisons: Sequence[HarnessComparison]
    unmatched: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessRunCrud:
    """What is read of runs."""

    runs: HarnessRuns
    reports: Reports

    async def get(self, caller: Caller, run_id: str) -> HarnessRun:
        """Return a run.

        Raises:
            HarnessRunNotFound: there is none.

        """
        return await self.runs.get(caller.project, run_id)

    async def list(self, caller: Caller, page: PageRequest) -> Page[HarnessRun]:
        """Return a page."""
        return await self.runs.list(caller.project, page=page)

    async def compare(self, caller: Caller, *, baseline: str, candidate: str) -> ComparedRuns:
        """Return how two runs differ.

        Raises:
            HarnessRunNotFound: there is no such run.
            HarnessRunsDiffer: they are not of one harness, or one has no scores, or they have none in common.

        """
        before, after = [await self.get(caller, each) for each in (baseline, candidate)]
        for run in (before, after):
            if run.state is not HarnessRunState.COMPLETED:
                text = f"run {run.id} has no scores ({run.reason}): compare runs that have"
                raise HarnessRunsDiffer(text)
        if before.tool is not after.tool:
            text = f"{before.tool.value} and {after.tool.value} score different things: compare runs of one harness"
            raise HarnessRunsDiffer(text)
        comparisons, unmatched = compare(before.scores, after.scores)
        if not comparisons:
            text = "the runs have no test and metric in common: run both with the same tests"
            raise HarnessRunsDiffer(text)
        return ComparedRuns(baseline=before, candidate=after, comparisons=comparisons, unmatched=unmatched)

    async def report(self, caller: Caller, run_id: str) -> bytes:
        """Return the report of a run, compressed.

        Raises:
            HarnessRunNotFound: there is no such run.
            HarnessReportGone: none was sent, or it was erased.

        """
        run = await self.get(caller, run_id)
        if run.readable is None:
            raise HarnessReportGone(run_id)
        try:
            return await self.reports.read(run.readable)
        except NotFound as error:
            raise HarnessReportGone(run_id) from error
