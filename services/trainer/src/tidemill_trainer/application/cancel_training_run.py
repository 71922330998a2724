"""Use case: cancel a run."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Request
from tidemill_trainer.application.ports import Runs
from tidemill_trainer.domain.training_run import TrainingRun


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelTrainingRun:
    """Emits RunHasFailed with reason CANCELLED. The worker notices within a second and kills the process."""

    runs: Runs
    clock: Clock

    async def __call__(self, caller: Caller, run_id: str, *, request: Request) -> TrainingRun:
        """Return the run, cancelled.

        Raises:
            TrainingRunNotFound: the caller's project has none with this id.
            RunFinished: it is registering, or done.

        """
        now = self.clock.now()
        return await self.runs.update(caller.project, run_id, lambda run: run.cancel(now=now), request=request)
