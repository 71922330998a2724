"""What the training worker has to do, found in the runs themselves, and the leases on it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from tidemill_kit.jobs import LeaseLost, Leases
from tidemill_kit.mongo import Collection, translated
from tidemill_trainer.application.ports import RunName
from tidemill_trainer.domain.errors import RunLost
from tidemill_trainer.domain.training_run import IN_WORK

AT_ONCE = 1000


class MongoWantedRuns:
    """Implements `ports.WantedRuns` on the collection of runs, which holds thousands at most."""

    def __init__(self, runs: Collection) -> None:
        self._runs = runs

    async def ensure_indexes(self) -> None:
        """Create the index that finds the few runs in work."""
        with translated():
            await self._runs.create_index([("state.state", 1)])

    async def runs(self) -> Sequence[RunName]:
        """See `WantedRuns.runs`."""
        wanted = {"state.state": {"$in": sorted(state.value for state in IN_WORK)}, "deleted": False}
        fields = {"project": True, "id": True}
        with translated():
            found = await self._runs.find(wanted, fields).sort([("create_time", 1)]).to_list(AT_ONCE)
        return [RunName(project=document["project"], run=document["id"]) for document in found]


class MongoRunLeases:
    """Implements `ports.RunLeases`; the epoch fences the run itself, which remembers it."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases

    @asynccontextmanager
    async def held(self, run: RunName) -> AsyncIterator[int | None]:
        """See `RunLeases.held`."""
        try:
            async with self._leases.held(f"{run.project}/{run.run}") as lease:
                yield lease.epoch if lease else None
        except LeaseLost as error:
            raise RunLost(run.run) from error
