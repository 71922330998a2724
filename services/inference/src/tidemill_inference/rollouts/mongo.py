"""What rollouts need beside their deployments: outcomes, and which are active."""

from collections.abc import Sequence
from datetime import datetime

from tidemill_core.application import ResourceKey, derived_id
from tidemill_core.characters import clean_line
from tidemill_inference.rollouts.domain.policy import RATING
from tidemill_inference.rollouts.domain.step_counts import Outcome, ServerEnd
from tidemill_inference.rollouts.domain.values import GivenValue
from tidemill_inference.rollouts.ports import Reaction
from tidemill_kit.store.mongo import Collection, Document, document_id, translated, update_or_insert
from tidemill_kit.workers.pending import PendingDocuments

_NEWEST_OF_STEP = [("rollout", 1), ("step", 1), ("noted", -1)]
_NEWEST_OF_ROLLOUT = [("rollout", 1), ("noted", -1)]
_NOW = {"$currentDate": {"noted": True}}
_ACTIVE = {"state.rollout.active": True}
_ERASURE_BATCH = 200
_READ_BATCH = 1000
"""So many outcomes are read within some milliseconds, after which other work goes on: a step may have a million."""
_ATTEMPTS = 5


class MongoOutcomes:
    """Implements `ports.Outcomes`: {_id, rollout, step, variant, failed, total_s, users, ratings: {feedback: {...}}}.

    A rating is {seq, number, metric, weight, user, mature_time}; those of earlier versions are {seq, number}. They are
    fields of their own, so that answer and reaction may come in any order; `noted` is the server's time of the later
    one. `users` are the digests of those who reacted, by which they are erased. Of an experiment `rollout` is the run,
    `step` the epoch, and there are `user`, the digest of who asked, and `cost_nanos`;
    of one that shows results by labels `cohorts`, the request's as pairs, and `asked_at`.

    The end of a server is {_id, rollout, step: "ends of <number>"}: no outcome, and as quick to find.
    """

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    async def ensure_indexes(self) -> None:
        """Create what counting needs; repeating it changes nothing."""
        with translated():
            await self._collection.create_index(_NEWEST_OF_STEP)
            await self._collection.create_index(_NEWEST_OF_ROLLOUT)
            await self._collection.create_index([("users", 1)], sparse=True)

    async def record(self, project: str, outcome: Outcome) -> None:
        """See `Outcomes.record`."""
        known = {
            "rollout": document_id(project, outcome.rollout),
            "step": outcome.step,
            "variant": outcome.variant,
            "failed": outcome.failed,
            "total_s": outcome.total_s,
        }
        if outcome.cost_nanos is not None:
            known["cost_nanos"] = outcome.cost_nanos
        if outcome.asked_at is not None:
            known["asked_at"] = outcome.asked_at
            known["cohorts"] = [[label, value] for label, value in outcome.cohorts.items()]
        change: Document = {"$set": known, **_NOW}
        if outcome.user:
            known["user"] = _digest(project, outcome.user)
            change["$addToSet"] = {"users": known["user"]}
        same = {"_id": document_id(project, outcome.inference)}
        await update_or_insert(self._collection, same, change)

    async def remove(self, project: str, inference: str) -> None:
        """See `Outcomes.remove`."""
        with translated():
            await self._collection.delete_one({"_id": document_id(project, inference)})

    async def record_end(self, project: str, end: ServerEnd) -> None:
        """See `Outcomes.record_end`."""
        known = {"rollout": document_id(project, end.rollout), "step": _ends_of(end.step)}
        same = {"_id": document_id(project, derived_id("server end", end.rollout, str(end.step), end.start))}
        await update_or_insert(self._collection, same, {"$set": known, **_NOW})

    async def ends(self, project: str, rollout: str, step: int) -> int:
        """See `Outcomes.ends`."""
        of = {"rollout": document_id(project, rollout), "step": _ends_of(step)}
        with translated():
            return await self._collection.count_documents(of)

    async def react(self, project: str, reaction: Reaction) -> None:
        """See `Outcomes.react`."""
        place = f"ratings.{derived_id('rating', reaction.feedback)}"  # its own id may have characters with a meaning
        user = _digest(project, reaction.end_user) if reaction.end_user and reaction.score is not None else ""
        said = {
            "seq": reaction.seq,
            "number": reaction.score,
            "metric": reaction.metric,
            "weight": reaction.weight,
            "user": user,
            "mature_time": reaction.mature_time,
        }
        of = document_id(project, reaction.inference)
        older = {"_id": of, f"{place}.seq": {"$not": {"$gte": reaction.seq}}}
        change: Document = {"$set": {"rollout": document_id(project, reaction.rollout), place: said}, **_NOW}
        await update_or_insert(self._collection, older, change | ({"$addToSet": {"users": user}} if user else {}))
        if not user:  # an earlier value of this feedback may name its user
            await self._forget_users(of)

    async def retract(self, project: str, reaction: Reaction) -> None:
        """See `Outcomes.retract`."""
        of, place = document_id(project, reaction.inference), f"ratings.{derived_id('rating', reaction.feedback)}"
        gone: Document = {"$set": {f"{place}.number": None, f"{place}.user": ""}, **_NOW}
        with translated():
            await self._collection.update_one({"_id": of, f"{place}.seq": reaction.seq}, gone)
        await self._forget_users(of)

    async def of_end_user(self, project: str, end_user: str, *, validate_only: bool = False) -> int:
        """See `Outcomes.of_end_user`; what changes meanwhile is found again, as it keeps the digest."""
        users = sorted({_digest(project, name) for name in (end_user, clean_line(end_user))})
        where: Document = {"users": {"$in": users}}
        with translated():
            if validate_only:
                return await self._collection.count_documents(where)
            found = await self._collection.find(where, {"ratings": 1, "user": 1}).limit(_ERASURE_BATCH).to_list(None)
            asked = [each["_id"] for each in found if each.get("user") in users]
            await self._collection.delete_many({"_id": {"$in": asked}, "user": {"$in": users}})
            for each in [each for each in found if each["_id"] not in asked]:
                theirs = [place for place, said in each.get("ratings", {}).items() if said.get("user") in users]
                gone: Document = {"$unset": {f"ratings.{place}": "" for place in theirs}} if theirs else {}
                await self._collection.update_one(_same(each), {**gone, "$pullAll": {"users": users}, **_NOW})
        return len(found)

    async def _forget_users(self, of: str) -> None:
        """Keep no digest of those of whom no value is left; read again where the values have changed meanwhile."""
        with translated():
            for _ in range(_ATTEMPTS):
                found = await self._collection.find_one({"_id": of, "users.0": {"$exists": True}})
                left = {said.get("user") for said in found.get("ratings", {}).values()} if found else set()
                left.add(found.get("user") if found else None)  # who asked stays
                gone = [user for user in found["users"] if user not in left] if found else []
                if not gone or found is None:
                    return
                if (await self._collection.update_one(_same(found), {"$pullAll": {"users": gone}})).matched_count:
                    return

    async def of_step(self, project: str, rollout: str, step: int, *, newest: int | None = None) -> Sequence[Outcome]:
        """See `Outcomes.of_step`."""
        of = {"rollout": document_id(project, rollout), "step": step}
        with translated():
            found = self._collection.find(of).sort("noted", -1).limit(newest or 0).batch_size(_READ_BATCH)
            return [_outcome(document) async for document in found]

    async def mark(self, project: str, rollout: str, step: int) -> object:
        """See `Outcomes.mark`; two of one millisecond differ in number."""
        of = {"rollout": document_id(project, rollout), "step": step}
        with translated():
            last = await self._collection.find_one(of, {"noted": 1}, sort=[("noted", -1)])
            count = await self._collection.count_documents(of)
        return last and last["noted"], count, await self.ends(project, rollout, step)

    async def trim(self, project: str, rollout: str, step: int, *, newest: int, before: datetime) -> None:
        """See `Outcomes.trim`; those of the same millisecond stay together."""
        ours = {"rollout": document_id(project, rollout)}
        of = {**ours, "step": step}
        with translated():
            if step:
                await self._collection.delete_many({**ours, "step": {"$lt": step}})
            await self._collection.delete_many({**ours, "step": None, "noted": {"$lt": before}})
            last = await self._collection.find_one(of, {"noted": 1}, sort=[("noted", -1)], skip=newest - 1)
            if last:
                await self._collection.delete_many({**of, "noted": {"$lt": last["noted"]}})

    async def of_run(self, project: str, run: str) -> Sequence[Outcome]:
        """See `Outcomes.of_run`."""
        of = {"rollout": document_id(project, run), "variant": {"$exists": True}}
        with translated():
            found = self._collection.find(of).batch_size(_READ_BATCH)
            return [_outcome(document) async for document in found]

    async def mark_of_run(self, project: str, run: str) -> object:
        """See `Outcomes.mark_of_run`."""
        of = {"rollout": document_id(project, run)}
        with translated():
            last = await self._collection.find_one(of, {"noted": 1}, sort=[("noted", -1)])
            return last and last["noted"], await self._collection.count_documents(of)

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


def _ends_of(step: int) -> str:
    return f"ends of {step}"


def _digest(project: str, end_user: str) -> str:
    return derived_id("end user of rollouts", project, end_user)


def _same(document: Document) -> Document:
    """Return what finds a document only while its values are those that were read."""
    ratings = document.get("ratings")
    return {"_id": document["_id"], "ratings": {"$exists": False} if ratings is None else ratings}


def _outcome(document: Document) -> Outcome:
    project, _, rollout = document["rollout"].partition("/")
    given = document.get("ratings", {}).values()
    return Outcome(
        inference=document["_id"].removeprefix(f"{project}/"),
        rollout=rollout,
        step=document["step"],
        variant=document["variant"],
        failed=document["failed"],
        total_s=document["total_s"],
        values=tuple(_value(each) for each in given if each["number"] is not None),  # None was taken back
        user=document.get("user", ""),
        cost_nanos=document.get("cost_nanos"),
        cohorts=dict(document.get("cohorts", ())),
        asked_at=document.get("asked_at"),
    )


def _value(said: Document) -> GivenValue:
    return GivenValue(
        metric=said.get("metric", RATING),
        score=said["number"],
        weight=said.get("weight", 1.0),
        user=said.get("user", ""),
        mature_time=said.get("mature_time"),
    )
