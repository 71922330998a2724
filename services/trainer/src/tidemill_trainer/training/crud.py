"""Create, get, list, update and delete training plans."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from tidemill_core.application import Caller, Page, PageRequest, Request
from tidemill_trainer.registry.domain.model_rules import check_model_id
from tidemill_trainer.training.check_plan import CheckPlan
from tidemill_trainer.training.domain.plan import PlanSettings, TrainingPlan
from tidemill_trainer.training.ports import Plans
from tidemill_trainer.training.start_deferred_run import StartDeferredRun

CHANGEABLE = frozenset({"dataset", "base", "method", "lora", "args", "limits", "paused", "labels"})


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateCommand:
    """Only `fields` of `settings` apply; `expected_version` is the revision that the caller read, if any."""

    plan: str
    settings: PlanSettings
    fields: AbstractSet[str]
    request: Request
    expected_version: int | None = None
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlanCrud:
    """Training plans. Every call raises TrainingPlanNotFound if the caller's project has none with this id."""

    plans: Plans
    check: CheckPlan
    start_deferred: StartDeferredRun

    async def create(
        self, caller: Caller, plan_id: str, settings: PlanSettings, *, request: Request, validate_only: bool
    ) -> TrainingPlan:
        """Return the new plan, which starts no run; repeating the request returns the same plan.

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

    async def get(self, caller: Caller, plan_id: str) -> TrainingPlan:
        """Return one plan."""
        return await self.plans.get(caller.project, plan_id)

    async def list(self, caller: Caller, page: PageRequest) -> Page[TrainingPlan]:
        """Return a page of plans, oldest first."""
        return await self.plans.list(caller.project, page=page)

    async def update(self, caller: Caller, command: UpdateCommand) -> TrainingPlan:
        """Return the updated plan; with `validate_only` the plan as it would be.

        Resuming a plan starts the run of the newest dataset version published during the pause. After a crash in
        between, the controller of deferred runs starts it.

        Raises:
            PlanChanged: the plan is not the one that the caller saw.
            InvalidInput: names field, value and what is allowed.
            BaseNotTrainable: the base is no set of full weights, or not ready.

        """
        current = await self.plans.get(caller.project, command.plan)
        _configure(current, command)
        if command.fields - {"paused", "labels"}:  # pausing must work even if the base is gone
            await self.check(caller.project, current.id, current.settings)
        if command.validate_only:
            return current
        plan = await self.plans.update(
            caller.project, command.plan, lambda plan: _configure(plan, command), request=command.request
        )
        return await self.start_deferred(plan)

    async def delete(
        self, caller: Caller, plan_id: str, *, expected_version: int | None, request: Request, validate_only: bool
    ) -> TrainingPlan:
        """Return the deleted plan; its runs, running ones included, and its model are kept.

        Raises:
            PlanChanged: the plan is not the one that the caller saw.

        """
        if validate_only:
            plan = await self.plans.get(caller.project, plan_id)
            plan.delete(expected_version=expected_version)
            return plan
        return await self.plans.update(
            caller.project, plan_id, lambda plan: plan.delete(expected_version=expected_version), request=request
        )


def _configure(plan: TrainingPlan, command: UpdateCommand) -> None:
    given = {name: getattr(command.settings, name) for name in command.fields}
    plan.configure(replace(plan.settings, **given), expected_version=command.expected_version)
