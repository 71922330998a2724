"""Removes the reports of runs: those with passages of what is erased, and old ones. Scores stay."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from tidemill_core.application import Clock, Request, ResourceKey
from tidemill_evaluator.errors import HarnessRunNotFound
from tidemill_evaluator.harness_runs.domain.harness_run import HarnessRun
from tidemill_evaluator.harness_runs.ports import HarnessRuns, KeptReports, Reports


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetReports:
    """A run names its report until that is removed, so that what was interrupted is found again."""

    runs: HarnessRuns
    reports: Reports
    kept: KeptReports

    async def with_passages_of(self, project: str) -> int:
        """Remove some of the reports that may have passages of a project's documents; return how many, 0 of none left.

        Which documents they have is not known: a harness does not say it.
        """
        return await self.of(await self.kept.with_passages_of(project))

    async def of(self, keys: Sequence[ResourceKey]) -> int:
        """Remove the reports of these runs; return how many."""
        for key in keys:
            with suppress(HarnessRunNotFound):  # erased meanwhile, with its objects
                await self.runs.update(key.project, key.id, HarnessRun.withdraw_report, request=Request.internal())
                await self.reports.remove(key.project, key.id)
                await self.runs.update(key.project, key.id, HarnessRun.forget_report, request=Request.internal())
        return len(keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetOldReports:
    """`ages` are the projects with a retention; nothing is removed of a project that `spares` names."""

    forget: ForgetReports
    kept: KeptReports
    ages: Callable[[], Mapping[str, timedelta]]
    spares: Callable[[str], bool]
    clock: Clock

    async def __call__(self) -> int:
        """Return how many reports were removed."""
        removed = 0
        for project, age in self.ages().items():
            some = 1
            while some and not self.spares(project):
                some = await self.forget.of(await self.kept.older_than(project, self.clock.now() - age))
                removed += some
        return removed
