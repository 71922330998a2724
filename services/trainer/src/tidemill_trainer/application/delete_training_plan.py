"""Use case: delete a plan."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Request
from tidemill_trainer.application.ports import Plans
from tidemill_trainer.domain.training_plan import TrainingPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteTrainingPlan:
    """The plan's runs, running ones included, and its model are kept."""

    plans: Plans

    async def __call__(
        self, caller: Caller, plan_id: str, *, expected_version: int | None, request: Request, validate_only: bool
    ) -> TrainingPlan:
        """Return the deleted plan; repeating the request returns it again.

        Raises:
            TrainingPlanNotFound: the caller's project has none with this id.
            PlanChanged: the plan is not the one that the caller saw.

        """
        if validate_only:
            plan = await self.plans.get(caller.project, plan_id)
            plan.delete(expected_version=expected_version)
            return plan
        return await self.plans.update(
            caller.project, plan_id, lambda plan: plan.delete(expected_version=expected_version), request=request
        )
