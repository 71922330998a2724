"""Start what a plan deferred: the run of the newest version that came while it was paused."""

from contextlib import suppress
from dataclasses import dataclass

from tidemill_kit.core.application import Request
from tidemill_kit.core.errors import NotFound
from tidemill_trainer.application.ports import PlanName, Plans
from tidemill_trainer.application.queue_run import QueueRun
from tidemill_trainer.domain.training_plan import DatasetVersion, TrainingPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class StartDeferredRun:
    """Emits RunWasQueued, once for plan and version, however often and by however many it is called."""

    plans: Plans
    queue: QueueRun

    async def __call__(self, plan: TrainingPlan) -> TrainingPlan:
        """Return the plan, which owes nothing any more unless it is paused."""
        if plan.deferred is None or plan.settings.paused:
            return plan
        return await self.start(plan, plan.deferred)

    async def start(self, plan: TrainingPlan, version: DatasetVersion) -> TrainingPlan:
        """Queue the run of a version; what the plan owes of this or an older one is finished by it."""
        await self.queue.automatic(plan, version)
        if plan.deferred is None:
            return plan
        return await self.plans.update(
            plan.project, plan.id, lambda plan: plan.start_deferred(version), request=Request.internal()
        )

    async def named(self, name: PlanName) -> None:
        """Settle a plan that was found to owe; one that was deleted since owes nothing."""
        with suppress(NotFound):
            await self(await self.plans.get(name.project, name.plan))
