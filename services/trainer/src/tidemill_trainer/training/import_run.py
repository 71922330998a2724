"""Imports a run that another tool recorded."""

from dataclasses import dataclass

from tidemill_core.application import Caller
from tidemill_core.quotas import Quota
from tidemill_core.resources import Write, create
from tidemill_trainer.training.domain.imported_run import ImportedRun
from tidemill_trainer.training.domain.run import TrainingRun
from tidemill_trainer.training.ports import ImportedRuns, Runs


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRun:
    """Stores it as a run that has ended: nothing is trained, and no event is published."""

    runs: Runs
    imported: ImportedRuns
    quota: Quota

    async def __call__(self, caller: Caller, given: ImportedRun, write: Write) -> TrainingRun:
        """Return the run; repeating the request returns the same run.

        Raises:
            InvalidInput: names field, value and limit.
            AlreadyExists: the project has imported this source.
            QuotaReached: it has as many imported runs as it may have.

        """
        given.check()
        run = given.run(caller.project, requester=caller.proven_subject)
        known = await self.runs.get_many(caller.project, [run.id])
        if not known:
            self.quota.check(caller.project, await self.imported.count(caller.project, up_to=self.quota.limit))
        return await create(self.runs, run, write)
