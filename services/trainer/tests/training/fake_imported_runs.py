"""Imported runs that a store in memory has."""

from tidemill_testkit.stores import InMemoryAggregates
from tidemill_trainer.training.domain.run import RunState, TrainingRun


class FakeImportedRuns:
    """Counts what a store in memory has."""

    def __init__(self, runs: InMemoryAggregates[TrainingRun]) -> None:
        self._runs = runs

    async def count(self, project: str, *, up_to: int) -> int:
        found = [
            run
            for run in self._runs.all()
            if run.project == project and run.state is RunState.IMPORTED and not run.deleted
        ]
        return min(up_to, len(found))
