"""Use case: create a plan."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Request
from tidemill_trainer.application.check_plan import CheckPlan
from tidemill_trainer.application.ports import Plans
from tidemill_trainer.domain.model_rules import check_model_id
from tidemill_trainer.domain.training_plan import PlanSettings, TrainingPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTrainingPlan:
    """Validates everything first; starts no run."""

    plans: Plans
    check: CheckPlan

    async def __call__(
        self, caller: Caller, plan_id: str, settings: PlanSettings, *, request: Request, validate_only: bool
    ) -> TrainingPlan:
        """Return the new plan; repeating the request returns the same plan.

        Raises:
            InvalidInput: names field, value and what is allowed.
            NotFound: names the models or versions that exist instead of the base.
            BaseNotTrainable: the base is no set of full weights, or not ready.
            AlreadyExists: the id is taken.

        """
        check_model_id(plan_id, field="plan.id")
        await self.check(caller.project, plan_id, settings)
        plan = TrainingPlan(id=plan_id, project=caller.project, labels=dict(settings.labels), settings=settings)
        if validate_only:
            return plan
        return await self.plans.add(plan, request=request)
