"""What rollouts need beside their deployments: outcomes, and which are active."""

from collections.abc import Sequence
from datetime import datetime

from tidemill_core.application import ResourceKey, derived_id
from tidemill_inference.rollouts.domain.step_counts import Outcome
from tidemill_inference.rollouts.ports import GivenRating
from tidemill_kit.store.mongo import Collection, Document, document_id, translated, update_or_insert
from tidemill_kit.workers.pending import PendingDocuments

_NEWEST_OF_STEP = [("rollout", 1), ("step", 1), ("noted", -1)]
_NEWEST_OF_ROLLOUT = [("rollout", 1), ("noted", -1)]
_NOW = {"$currentDate": {"noted": True}}
_ACTIVE = {"state.rollout.active": True}


class MongoOutcomes:
    """Implements `ports.Outcomes`: {_id, rollout, step, variant, failed, total_s, ratings: {feedback: {seq, number}}}.

    Ratings are fields of their own, so that answer and rating may come in any order; `noted` is the server's time of
    the later one.
    """

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    async def ensure_indexes(self) -> None:
        """Create what counting needs; repeating it changes nothing."""
        with translated():
            await self._collection.create_index(_NEWEST_OF_STEP)
            await self._collection.create_index(_NEWEST_OF_ROLLOUT)

    async def record(self, project: str, outcome: Outcome) -> None:
        """See `Outcomes.record`."""
        known = {
            "rollout": document_id(project, outcome.rollout),
            "step": outcome.step,
            "variant": outcome.variant,
            "failed": outcome.failed,
            "total_s": outcome.total_s,
        }
        same = {"_id": document_id(project, outcome.inference)}
        await update_or_insert(self._collection, same, {"$set": known, **_NOW})

    async def rate(self, project: str, rating: GivenRating) -> None:
        """See `Outcomes.rate`."""
        place = f"ratings.{derived_id('rating', rating.feedback)}"  # its own id may have characters with a meaning
        older = {"_id": document_id(project, rating.inference), f"{place}.seq": {"$not": {"$gte": rating.seq}}}
        given = {"rollout": document_id(project, rating.rollout), place: {"seq": rating.seq, "number": rating.number}}
        await update_or_insert(self._collection, older, {"$set": given, **_NOW})

    async def of_step(self, project: str, rollout: str, step: int, *, newest: int | None = None) -> Sequence[Outcome]:
        """See `Outcomes.of_step`."""
        of = {"rollout": document_id(project, rollout), "step": step}
        with translated():
            found = await self._collection.find(of).sort("noted", -1).limit(newest or 0).to_list(None)
        return [_outcome(document) for document in found]

    async def mark(self, project: str, rollout: str, step: int) -> object:
        """See `Outcomes.mark`; two of one millisecond differ in number."""
        of = {"rollout": document_id(project, rollout), "step": step}
        with translated():
            last = await self._collection.find_one(of, {"noted": 1}, sort=[("noted", -1)])
            return last and last["noted"], await self._collection.count_documents(of)

    async def trim(self, project: str, rollout: str, step: int, *, newest: int) -> None:
        """See `Outcomes.trim`; those of the same millisecond stay together."""
        of = {"rollout": document_id(project, rollout), "step": step}
        with translated():
            last = await self._collection.find_one(of, {"noted": 1}, sort=[("noted", -1)], skip=newest - 1)
            if last:
                await self._collection.delete_many({**of, "noted": {"$lt": last["noted"]}})

    async def forget(self, project: str, rollout: str) -> None:
        """See `Outcomes.forget`."""
        with translated():
            await self._collection.delete_many({"rollout": document_id(project, rollout)})

    async def quiet(self, *, since: datetime) -> Sequence[tuple[str, str]]:
        """See `Outcomes.quiet`; one query per rollout, each of which reads one entry of the index."""
        quiet: list[tuple[str, str]] = []
        after = {"rollout": {"$gt": ""}}
        with translated():
            while newest := await self._collection.find_one(after, {"rollout": 1, "noted": 1}, sort=_NEWEST_OF_ROLLOUT):
                after = {"rollout": {"$gt": newest["rollout"]}}
                if newest["noted"] < since:
                    project, _, rollout = newest["rollout"].partition("/")
                    quiet.append((project, rollout))
        return quiet


class MongoActiveRollouts:
    """Implements `ports.ActiveRollouts`, and says which are `pending`. Their index holds the active ones only."""

    def __init__(self, deployments: Collection) -> None:
        self.pending = PendingDocuments(
            deployments,
            {**_ACTIVE, "deleted": False},
            index="state.rollout.active",
            partialFilterExpression=_ACTIVE,
        )

    async def ensure_indexes(self) -> None:
        """Create what finding them needs; repeating it changes nothing."""
        await self.pending.ensure_indexes()

    async def all(self) -> Sequence[ResourceKey]:
        """See `ActiveRollouts.all`."""
        found: list[ResourceKey] = []
        token: str | None = ""
        while token is not None:
            page = await self.pending(token, without=frozenset())
            found += page.items
            token = page.next_token or None
        return found


def _outcome(document: Document) -> Outcome:
    project, _, rollout = document["rollout"].partition("/")
    given = (each["number"] for each in document.get("ratings", {}).values())
    ratings = [number for number in given if number is not None]  # None was taken back
    return Outcome(
        inference=document["_id"].removeprefix(f"{project}/"),
        rollout=rollout,
        step=document["step"],
        variant=document["variant"],
        failed=document["failed"],
        total_s=document["total_s"],
        rating=sum(ratings) / len(ratings) if ratings else None,
    )
