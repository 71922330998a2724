"""Cancels the runs of an erased project."""

from contextlib import suppress
from dataclasses import dataclass

from tidemill_core.application import Clock, Request
from tidemill_core.errors import NotFound
from tidemill_core.resources import list_all
from tidemill_trainer.errors import RunFinished
from tidemill_trainer.training.domain.run import RunState
from tidemill_trainer.training.ports import Runs

_CANCELLABLE = (RunState.QUEUED, RunState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRuns:
    """Cancels the runs of a project.

    A worker kills the process of a cancelled run within a second, and its folder; one that registers a version ends by
    itself.
    """

    runs: Runs
    clock: Clock

    async def __call__(self, project: str) -> None:
        """Cancel those that are queued or running."""
        now = self.clock.now()
        for state in _CANCELLABLE:
            async for run in list_all(self.runs, project, where={"state": state.value}):
                with suppress(NotFound, RunFinished):
                    await self.runs.update(
                        project,
                        run.id,
                        lambda run: run.cancel(now=now, message="its project is erased"),
                        request=Request.internal(),
                    )
