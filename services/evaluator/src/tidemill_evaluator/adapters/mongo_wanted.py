"""What workers have to do, found in evaluations and gates themselves: no second list that could disagree with them."""

from collections.abc import Iterable, Sequence

from tidemill_evaluator.application.ports import EvaluationName, GateName
from tidemill_evaluator.domain.evaluation import UNFINISHED
from tidemill_kit.mongo import Collection, translated

AT_ONCE = 1000


class MongoWanted:
    """Implements `ports.Wanted` on the collections of evaluations, thousands at most, and of gates, far fewer."""

    def __init__(self, evaluations: Collection, gates: Collection) -> None:
        self._evaluations = evaluations
        self._gates = gates

    async def ensure_indexes(self) -> None:
        """Create the indexes that find the few evaluations in work, and the few gates that owe one."""
        with translated():
            await self._evaluations.create_index([("state.state", 1)])
            await self._gates.create_index([("state.owed.candidate", 1)], sparse=True)

    async def evaluations(self, *, without: Iterable[str] = ()) -> Sequence[EvaluationName]:
        """See `Wanted.evaluations`."""
        wanted = {"state.state": {"$in": sorted(state.value for state in UNFINISHED)}, "deleted": False}
        chosen = {**wanted, "project": {"$nin": list(without)}}
        with translated():
            found = await self._evaluations.find(chosen, {"project": True, "id": True}).to_list(AT_ONCE)
        return [EvaluationName(project=document["project"], evaluation=document["id"]) for document in found]

    async def owing(self) -> Sequence[GateName]:
        """See `Wanted.owing`."""
        owing = {"state.owed.candidate": {"$exists": True}, "state.paused": False, "deleted": False}
        with translated():
            found = await self._gates.find(owing, {"project": True, "id": True}).to_list(AT_ONCE)
        return [GateName(project=document["project"], gate=document["id"]) for document in found]
