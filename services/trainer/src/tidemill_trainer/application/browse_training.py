"""Use cases: get and list plans and runs."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Page, PageRequest
from tidemill_trainer.application.ports import Plans, Runs
from tidemill_trainer.domain.training_plan import TrainingPlan
from tidemill_trainer.domain.training_run import TrainingRun


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowseTraining:
    """Returns plans and runs as they are stored."""

    plans: Plans
    runs: Runs

    async def plan(self, caller: Caller, plan_id: str) -> TrainingPlan:
        """Return one plan.

        Raises:
            TrainingPlanNotFound: the caller's project has none with this id.

        """
        return await self.plans.get(caller.project, plan_id)

    async def list_plans(self, caller: Caller, page: PageRequest) -> Page[TrainingPlan]:
        """Return a page of plans, oldest first."""
        return await self.plans.list(caller.project, page=page)

    async def run(self, caller: Caller, run_id: str) -> TrainingRun:
        """Return one run.

        Raises:
            TrainingRunNotFound: the caller's project has none with this id.

        """
        return await self.runs.get(caller.project, run_id)

    async def list_runs(self, caller: Caller, page: PageRequest, *, plan: str) -> Page[TrainingRun]:
        """Return a page of runs, oldest first; only those of `plan` unless it is empty."""
        return await self.runs.list(caller.project, page=page, where={"plan": plan} if plan else None)
