"""What workers have to do, found in evaluations and gates themselves: no second list that could disagree with them."""

from collections.abc import Iterable, Sequence

from tidemill_evaluator.application.ports import EvaluationName, GateName
from tidemill_evaluator.domain.evaluation import UNFINISHED
from tidemill_kit.store.mongo import Collection, translated

BATCH_SIZE = 1000


class MongoPendingEvaluations:
    """Implements `ports.PendingEvaluations` on the collections of evaluations (thousands) and of gates (fewer)."""

    def __init__(self, evaluations: Collection, gates: Collection) -> None:
        self._evaluations = evaluations
        self._gates = gates

    async def ensure_indexes(self) -> None:
        """Create the indexes that find the few evaluations in work, and the few gates with a deferred one."""
        with translated():
            await self._evaluations.create_index([("state.state", 1)])
            await self._gates.create_index([("state.owed.candidate", 1)], sparse=True)

    async def evaluations(self, *, without: Iterable[str] = ()) -> Sequence[EvaluationName]:
        """See `PendingEvaluations.evaluations`."""
        pending = {"state.state": {"$in": sorted(state.value for state in UNFINISHED)}, "deleted": False}
        chosen = {**pending, "project": {"$nin": list(without)}}
        with translated():
            found = await self._evaluations.find(chosen, {"project": True, "id": True}).to_list(BATCH_SIZE)
        return [EvaluationName(project=document["project"], evaluation=document["id"]) for document in found]

    async def with_deferred_work(self) -> Sequence[GateName]:
        """See `PendingEvaluations.with_deferred_work`."""
        with_deferred_work = {"state.owed.candidate": {"$exists": True}, "state.paused": False, "deleted": False}
        with translated():
            found = await self._gates.find(with_deferred_work, {"project": True, "id": True}).to_list(BATCH_SIZE)
        return [GateName(project=document["project"], gate=document["id"]) for document in found]
