"""Queues a run of a plan, for a new dataset version or on request, the first time or again."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Request, ResourceKey
from tidemill_core.errors import AlreadyExists, InvalidInput, NotFound, PreconditionFailed, TidemillError
from tidemill_trainer.training.check_plan import CheckPlan
from tidemill_trainer.training.domain.guidance import Guidance
from tidemill_trainer.training.domain.plan import DatasetVersion, RunLimits, TrainingPlan
from tidemill_trainer.training.domain.run import TrainingRun, run_id
from tidemill_trainer.training.ports import Runs


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRun:
    """Emits RunWasQueued. Resolves the plan's base and notifies the worker."""

    runs: Runs
    check: CheckPlan
    clock: Clock
    enqueue: Callable[[ResourceKey], None]

    async def queued(self, plan: TrainingPlan, version: DatasetVersion) -> bool:
        """Return whether a dataset version queued a run of the plan, and notify the worker."""
        name = run_id(plan.project, plan.id, version.id)
        run = (await self.runs.get_many(plan.project, [name])).get(name)
        if run is not None:
            self._enqueue(run)
        return run is not None

    async def automatic(self, plan: TrainingPlan, version: DatasetVersion) -> None:
        """Queue the run of a new dataset version, once; without its base it fails at once (RunHasFailed)."""
        try:
            run = await self.preview(plan, version, name=run_id(plan.project, plan.id, version.id))
        except (NotFound, PreconditionFailed, InvalidInput) as refused:
            await self.refused(plan, version, refused)
            return
        await self._add(run)

    async def refused(self, plan: TrainingPlan, version: DatasetVersion, refused: TidemillError) -> None:
        """Add the run of a new dataset version as one that failed at once, with the reason."""
        now, name = self.clock.now(), run_id(plan.project, plan.id, version.id)
        run = TrainingRun.queue(run=name, plan=plan, dataset=version, base=plan.settings.base, now=now)
        run.claim(0, now=now)
        run.fail(reason=refused.reason, message=refused.message, now=now, epoch=0)
        await self._add(run)

    async def _add(self, run: TrainingRun) -> None:
        with suppress(AlreadyExists):  # redelivered event
            await self.runs.add(run, request=Request(id=f"queue:{run.id}", digest=run.id))
        self._enqueue(run)

    async def requested(
        self, caller: Caller, plan: TrainingPlan, version: DatasetVersion, *, name: str, request: Request
    ) -> TrainingRun:
        """Queue a run with the given id; raises as `CheckPlan.base_of`."""
        run = await self.preview(plan, version, name=name)
        run.request(caller.proven_subject)
        queued = await self.runs.add(run, request=request)
        self._enqueue(queued)
        return queued

    async def preview(self, plan: TrainingPlan, version: DatasetVersion, *, name: str) -> TrainingRun:
        """Return the run without saving it; raises as `CheckPlan.base_of`."""
        base, now = await self.check.base_of(plan.project, plan.settings), self.clock.now()
        guidance = await self.check.guidance(plan.project, plan.settings, base, trained=plan.id)
        run = TrainingRun.queue(
            run=name, plan=plan, dataset=version, base=base.id, now=now, facts=base.facts, guidance=guidance
        )
        return self.check.within_calls(run)

    async def retry(self, caller: Caller, run: TrainingRun, *, limits: RunLimits, request: Request) -> TrainingRun:
        """Queue a failed or cancelled run again; until it has begun, its base is resolved again.

        Raises:
            InvalidInput: its judge would be called more often than it may be.
            SweepNotRetriable: it is what a sweep that could not start left.

        """
        run.refuse_unstarted_sweep()
        now, base = self.clock.now(), run.base
        guidance = Guidance(rewards=run.recipe.rewards, teacher=run.recipe.teacher, judge=run.judge)
        if run.is_retriable and not run.has_begun:
            version = await self.check.base(run.project, base)
            guidance = await self.check.guidance_of(
                run.project, guidance, version, args=run.recipe.args, trained=run.plan
            )
            base = version.id

        def change(run: TrainingRun) -> None:
            begun = run.has_begun
            run.retry(base=base, guidance=guidance, limits=limits, now=now)
            if not begun:
                self.check.within_calls(run)
            run.request(caller.proven_subject)

        queued = await self.runs.update(run.project, run.id, change, request=request)
        self._enqueue(queued)
        return queued

    def _enqueue(self, run: TrainingRun) -> None:
        self.enqueue(ResourceKey(project=run.project, id=run.id))
