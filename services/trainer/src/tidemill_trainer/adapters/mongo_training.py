"""Queries for pending runs and deferred plans, and leases on runs."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from tidemill_kit.store.mongo import Collection, translated
from tidemill_kit.workers.leases import LeaseLost, Leases
from tidemill_trainer.application.ports import PlanName, RunName
from tidemill_trainer.domain.errors import RunLost
from tidemill_trainer.domain.training_run import IN_WORK

BATCH_SIZE = 1000


class MongoPendingRuns:
    """Implements `ports.PendingRuns` by queries on the collections of runs and plans."""

    def __init__(self, runs: Collection, plans: Collection) -> None:
        self._runs = runs
        self._plans = plans

    async def ensure_indexes(self) -> None:
        """Create the indexes of runs by state and of plans by deferred version."""
        with translated():
            await self._runs.create_index([("state.state", 1)])
            await self._plans.create_index([("state.owed.id", 1)])

    async def runs(self, *, without: Iterable[str] = ()) -> Sequence[RunName]:
        """See `PendingRuns.runs`."""
        pending = {"state.state": {"$in": sorted(state.value for state in IN_WORK)}, "deleted": False}
        chosen = {**pending, "project": {"$nin": list(without)}}
        fields = {"project": True, "id": True}
        with translated():
            found = await self._runs.find(chosen, fields).sort([("create_time", 1)]).limit(BATCH_SIZE).to_list(None)
        return [RunName(project=document["project"], run=document["id"]) for document in found]

    async def deferred(self) -> Sequence[PlanName]:
        """See `PendingRuns.deferred`."""
        pending = {"state.owed.id": {"$gt": ""}, "state.paused": False, "deleted": False}
        with translated():
            found = await self._plans.find(pending, {"project": True, "id": True}).limit(BATCH_SIZE).to_list(None)
        return [PlanName(project=document["project"], plan=document["id"]) for document in found]


class MongoRunLeases:
    """Implements `ports.RunLeases`. The run stores the epoch and refuses writes of earlier ones."""

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
