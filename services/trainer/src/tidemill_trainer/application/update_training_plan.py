"""Use case: update a plan; applies to later runs."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from tidemill_core.application import Caller, Request
from tidemill_trainer.application.check_plan import CheckPlan
from tidemill_trainer.application.ports import Plans
from tidemill_trainer.application.start_deferred_run import StartDeferredRun
from tidemill_trainer.domain.training_plan import PlanSettings, TrainingPlan

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
class UpdateTrainingPlan:
    """Resuming a plan starts the run of the newest dataset version published during the pause.

    After a crash in between, the training worker starts the deferred run.
    """

    plans: Plans
    check: CheckPlan
    start_deferred: StartDeferredRun

    async def __call__(self, caller: Caller, command: UpdateCommand) -> TrainingPlan:
        """Return the updated plan; with `validate_only` the plan as it would be.

        Raises:
            TrainingPlanNotFound: the caller's project has none with this id.
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


def _configure(plan: TrainingPlan, command: UpdateCommand) -> None:
    given = {name: getattr(command.settings, name) for name in command.fields}
    plan.configure(replace(plan.settings, **given), expected_version=command.expected_version)
