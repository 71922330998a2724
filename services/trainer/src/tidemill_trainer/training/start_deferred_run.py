"""Starts a plan's deferred run: the newest dataset version published while it was paused."""

from contextlib import suppress
from dataclasses import dataclass

from tidemill_core.application import Request, ResourceKey
from tidemill_core.errors import NotFound
from tidemill_trainer.training.domain.plan import DatasetVersion, TrainingPlan
from tidemill_trainer.training.ports import Plans
from tidemill_trainer.training.queue_run import QueueRun


@dataclass(frozen=True, slots=True, kw_only=True)
class StartDeferredRun:
    """Emits RunWasQueued once per plan and dataset version; safe to call concurrently."""

    plans: Plans
    queue: QueueRun

    async def __call__(self, plan: TrainingPlan) -> TrainingPlan:
        """Queue the deferred run unless the plan is paused; return the plan."""
        if plan.deferred is None or plan.settings.paused:
            return plan
        return await self.start(plan, plan.deferred)

    async def start(self, plan: TrainingPlan, version: DatasetVersion) -> TrainingPlan:
        """Queue the run of a version and clear a deferred version that is not newer."""
        await self.queue.automatic(plan, version)
        if plan.deferred is None:
            return plan
        return await self.plans.update(
            plan.project, plan.id, lambda plan: plan.start_deferred(version), request=Request.internal()
        )

    async def reconcile(self, key: ResourceKey) -> None:
        """Start the deferred run of a plan whose resuming process crashed; does nothing if the plan was deleted."""
        with suppress(NotFound):
            await self(await self.plans.get(key.project, key.id))
