"""Create, get, list, update and delete training plans."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, replace

from tidemill_core.application import Caller, Page, PageRequest
from tidemill_core.resources import Write, check_slug, create, delete, update
from tidemill_trainer.errors import PlanChanged
from tidemill_trainer.training.check_plan import CheckPlan
from tidemill_trainer.training.domain.plan import PlanSettings, TrainingPlan
from tidemill_trainer.training.ports import PlannedSweeps, Plans
from tidemill_trainer.training.start_deferred_run import StartDeferredRun

CHANGEABLE = frozenset(field.name for field in fields(PlanSettings))
_NO_RECIPE = frozenset({"paused", "labels"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlanCrud:
    """Training plans. Every call raises TrainingPlanNotFound if the caller's project has none with this id.

    A write also raises PlanChanged if the plan is not the one that the caller saw.
    """

    plans: Plans
    check: CheckPlan
    start_deferred: StartDeferredRun
    sweeps: PlannedSweeps

    async def create(self, caller: Caller, plan_id: str, settings: PlanSettings, write: Write) -> TrainingPlan:
        """Return the new plan, which starts no run; repeating the request returns the same plan.

        Raises:
            InvalidInput: names field, value and what is allowed.
            NotFound: names the models or versions that exist instead of the base.
            BaseNotTrainable: the base is no set of full weights, or not ready.
            AlreadyExists: the id is taken.

        """
        check_slug("plan.id", plan_id)
        await self.check(caller.project, plan_id, settings)
        plan = TrainingPlan(id=plan_id, project=caller.project, labels=dict(settings.labels), settings=settings)
        await self.sweeps.check(plan)
        plan.write(caller.proven_subject)
        return await create(self.plans, plan, write)

    async def get(self, caller: Caller, plan_id: str) -> TrainingPlan:
        """Return one plan."""
        return await self.plans.get(caller.project, plan_id)

    async def list(self, caller: Caller, page: PageRequest) -> Page[TrainingPlan]:
        """Return a page of plans."""
        return await self.plans.list(caller.project, page=page)

    async def update(
        self, caller: Caller, plan_id: str, settings: PlanSettings, changed: AbstractSet[str], write: Write
    ) -> TrainingPlan:
        """Return the plan with the fields of `settings` that `changed` names.

        Resuming a plan starts the run of the newest dataset version published during the pause. After a crash in
        between, the controller of deferred runs starts it.

        Raises:
            InvalidInput: names field, value and what is allowed.
            BaseNotTrainable: the base is no set of full weights, or not ready.

        """

        def change(plan: TrainingPlan) -> None:
            plan.configure(replace(plan.settings, **{name: getattr(settings, name) for name in changed}))
            if changed - _NO_RECIPE:
                plan.write(caller.proven_subject)

        async def updated(write: Write) -> TrainingPlan:
            return await update(self.plans, caller.project, plan_id, change, write, changed=PlanChanged)

        # The write itself checks the etag, or answers as before where it is repeated.
        preview = await updated(write if write.validate_only else replace(write, validate_only=True, etag=""))
        if changed - _NO_RECIPE:  # pausing must work even if the base is gone
            await self.check(caller.project, plan_id, preview.settings)
            await self.sweeps.check(preview)
        if write.validate_only:
            return preview
        return await self.start_deferred(await updated(write))

    async def delete(self, caller: Caller, plan_id: str, write: Write) -> TrainingPlan:
        """Return the deleted plan; its runs, running ones included, and its model are kept."""
        forget = TrainingPlan.forget_deferred
        return await delete(self.plans, caller.project, plan_id, write, change=forget, changed=PlanChanged)
