"""Starts a plan's deferred run: the newest dataset version published while it was paused."""

from contextlib import suppress
from dataclasses import dataclass

from tidemill_core.application import Request, ResourceKey
from tidemill_core.errors import InvalidInput, NotFound, PreconditionFailed
from tidemill_trainer.errors import SweepNotStarted
from tidemill_trainer.training.domain.plan import DatasetVersion, TrainingPlan
from tidemill_trainer.training.ports import PlannedSweeps, Plans
from tidemill_trainer.training.queue_run import QueueRun


@dataclass(frozen=True, slots=True, kw_only=True)
class StartDeferredRun:
    """Starts one run or one sweep per plan and dataset version; safe to call concurrently."""

    plans: Plans
    queue: QueueRun
    sweeps: PlannedSweeps

    async def __call__(self, plan: TrainingPlan) -> TrainingPlan:
        """Queue the deferred run unless the plan is paused; return the plan."""
        if plan.deferred is None or plan.settings.paused:
            return plan
        return await self.start(plan, plan.deferred)

    async def start(self, plan: TrainingPlan, version: DatasetVersion) -> TrainingPlan:
        """Start the run or sweep of a version and clear a deferred version that is not newer."""
        await self._begin(plan, version)
        if plan.deferred is None:
            return plan
        return await self.plans.update(
            plan.project, plan.id, lambda plan: plan.start_deferred(version), request=Request.internal()
        )

    async def _begin(self, plan: TrainingPlan, version: DatasetVersion) -> None:
        """Start a run, or the sweep that the plan declares, once; a sweep that cannot start is a failed run.

        What a version has started stays the only one, also if the plan has changed since.
        """
        if await self.queue.queued(plan, version) or await self.sweeps.started(plan, version):
            return
        if plan.settings.sweep is None:
            await self.queue.automatic(plan, version)
            return
        try:
            await self.sweeps.start(plan, version)
        except (InvalidInput, NotFound, PreconditionFailed) as refused:
            await self.queue.refused(plan, version, SweepNotStarted(plan.id, refused))

    async def reconcile(self, key: ResourceKey) -> None:
        """Start the deferred run of a plan whose resuming process crashed; does nothing if the plan was deleted."""
        with suppress(NotFound):
            await self(await self.plans.get(key.project, key.id))
