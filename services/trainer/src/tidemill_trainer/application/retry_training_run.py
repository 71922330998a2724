"""Use case: retry a failed or cancelled run."""

from collections.abc import Callable
from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Request, ResourceKey
from tidemill_trainer.application.check_plan import CheckPlan
from tidemill_trainer.application.current_limits import current_limits
from tidemill_trainer.application.ports import Plans, Runs
from tidemill_trainer.domain.training_run import TrainingRun


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryTrainingRun:
    """Emits RunWasQueued. The run resumes from its last checkpoint if its worker still has it.

    A run that has not computed yet resolves its base again; one that ran out of memory uses its plan's current limits.
    """

    runs: Runs
    plans: Plans
    check: CheckPlan
    clock: Clock
    enqueue: Callable[[ResourceKey], None]

    async def __call__(self, caller: Caller, run_id: str, *, request: Request) -> TrainingRun:
        """Return the run, queued.

        Raises:
            TrainingRunNotFound: the caller's project has none with this id.
            RunNotRetriable: it neither failed nor was cancelled.
            ModelNotFound, ModelVersionNotFound, BaseNotTrainable: it has not begun, and its base is still not there.

        """
        now, current = self.clock.now(), await self.runs.get(caller.project, run_id)
        base = current.base
        if not (current.has_begun or current.is_in_work):
            base = (await self.check.base(caller.project, base)).id
        limits = await current_limits(self.plans, current)
        run = await self.runs.update(
            caller.project, run_id, lambda run: run.retry(base=base, limits=limits, now=now), request=request
        )
        self.enqueue(ResourceKey(project=run.project, id=run.id))
        return run
