"""Erases the runs of a project: those that are at work end first."""

from contextlib import suppress
from dataclasses import dataclass

from tidemill_core.application import Clock, Request
from tidemill_core.errors import NotFound
from tidemill_core.resources import list_all
from tidemill_kit.erasure.documents import erase_documents, ids_of
from tidemill_kit.erasure.steps import NotYet, Target
from tidemill_kit.store.mongo import Collection
from tidemill_kit.workers.leases import Leases
from tidemill_trainer.errors import RunFinished
from tidemill_trainer.training.domain.run import RunState, TrainingRun
from tidemill_trainer.training.ports import Runs

_CANCELLABLE = (RunState.QUEUED, RunState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseRuns:
    """Cancels the runs of a project, waits for their workers, and removes them.

    A worker kills the process of a cancelled run within a second, and its folder; one that registers a version ends by
    itself. While it does it may still write files, so nothing of the project is removed before.
    """

    runs: Runs
    collection: Collection
    leases: Leases
    clock: Clock

    async def __call__(self, target: Target) -> int:
        """Return how many runs were removed.

        Raises:
            NotYet: a worker has one of them.

        """
        for state in _CANCELLABLE:
            async for run in list_all(self.runs, target.project, where={"state": state.value}):
                await self._cancel(run)
        if await self.leases.busy(target.project):
            message = "training runs of the project are ending"
            raise NotYet(message)
        return await erase_documents(self.collection, ids_of(target.project))

    async def _cancel(self, run: TrainingRun) -> None:
        now = self.clock.now()
        with suppress(NotFound, RunFinished):
            await self.runs.update(run.project, run.id, lambda run: run.cancel(now=now), request=Request.internal())
