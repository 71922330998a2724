"""Sets of examples, and the examples, as documents.

Sets are `{_id: "<project>/<set>", project, id, dataset, embedding, state, part, why, used_at, check_at}`, examples
`{_id: "<project>/<set>/<example>", project, set, id, order, question, answer, author, asked_by, people, documents,
principals, observed_at, part, renew_at}`.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from tidemill_core.application import SystemClock
from tidemill_inference.examples.domain.example_set import Example, ExampleSet, SetState
from tidemill_inference.examples.ports import Found
from tidemill_kit.store.mongo import (
    Collection,
    Document,
    count_up_to,
    delete_many,
    document_id,
    ids_of,
    translated,
    update_each,
)
from tidemill_kit.workers.pending import PendingDocuments

_NEVER = datetime.fromtimestamp(0, UTC)
_EXAMPLE = ("id", "question", "answer", "author", "asked_by", "documents", "principals", "observed_at")


def pending_sets(sets: Collection) -> PendingDocuments:
    """Return what finds the sets that are to be checked."""
    return PendingDocuments(sets, lambda: {"check_at": {"$lte": SystemClock().now()}}, index="check_at")


class MongoExampleSets:
    """Implements `ports.ExampleSets`."""

    def __init__(self, sets: Collection) -> None:
        self._sets = sets

    async def get(self, project: str, set_id: str) -> ExampleSet | None:
        """See `ExampleSets.get`."""
        with translated():
            found = await self._sets.find_one({"_id": document_id(project, set_id)})
        return _set(found) if found else None

    async def add(self, fresh: ExampleSet) -> None:
        """See `ExampleSets.add`."""
        with translated():
            stored = {"$setOnInsert": asdict(fresh) | {"state": fresh.state.value}}
            await self._sets.update_one({"_id": document_id(fresh.project, fresh.id)}, stored, upsert=True)

    async def count(self, project: str, *, limit: int) -> int:
        """See `ExampleSets.count`."""
        return await count_up_to(self._sets, ids_of(project), limit=limit)

    async def save(self, changed: ExampleSet) -> bool:
        """See `ExampleSets.save`."""
        done = {"state": changed.state.value, "part": changed.part, "why": changed.why, "check_at": changed.check_at}
        with translated():
            result = await self._sets.update_one({"_id": document_id(changed.project, changed.id)}, {"$set": done})
        return bool(result.matched_count)

    async def use(self, project: str, set_id: str, *, now: datetime) -> None:
        """See `ExampleSets.use`."""
        with translated():
            await self._sets.update_one({"_id": document_id(project, set_id)}, {"$max": {"used_at": now}})

    async def remove(self, project: str, set_id: str) -> None:
        """See `ExampleSets.remove`."""
        with translated():
            await self._sets.delete_one({"_id": document_id(project, set_id)})


class MongoExamples:
    """Implements `ports.StoredExamples`."""

    def __init__(self, examples: Collection) -> None:
        self._examples = examples

    async def ensure_indexes(self) -> None:
        """Create what finds examples by set, person and document; repeating it changes nothing."""
        with translated():
            await self._examples.create_index([("project", 1), ("set", 1), ("part", 1), ("order", 1)])
            await self._examples.create_index([("project", 1), ("set", 1), ("renew_at", 1)])
            await self._examples.create_index([("project", 1), ("people", 1)])
            await self._examples.create_index([("project", 1), ("documents", 1)])

    async def put(self, of: ExampleSet, examples: Sequence[Example], *, part: str) -> None:
        """See `StoredExamples.put`."""
        if not examples:
            return
        updates = [
            (
                {"_id": _id(of.project, of.id, each.id)},
                {
                    "$set": {**_stored(each), "project": of.project, "set": of.id, "part": part},
                    "$setOnInsert": {"renew_at": _NEVER},
                },
            )
            for each in examples
        ]
        with translated():
            await update_each(self._examples, updates)

    async def get(self, of: ExampleSet, ids: Sequence[str]) -> Sequence[Example]:
        """See `StoredExamples.get`."""
        where = {"_id": {"$in": [_id(of.project, of.id, each) for each in ids]}, "part": of.part}
        with translated():
            return [_example(each) for each in await self._examples.find(where).to_list(len(ids))] if ids else []

    async def by_chance(
        self, of: ExampleSet, *, principals: frozenset[str], start: int, limit: int
    ) -> Sequence[Example]:
        """See `StoredExamples.by_chance`."""
        shown = {"principals": {"$not": {"$elemMatch": {"$nin": sorted(principals)}}}}
        after = await self._ordered(of, {"order": {"$gte": start}, **shown}, limit)
        left = limit - len(after)
        before = await self._ordered(of, {"order": {"$lt": start}, **shown}, left) if left else []
        return [*after, *before]

    async def without_vector(self, of: ExampleSet, *, now: datetime, limit: int) -> Sequence[Example]:
        """See `StoredExamples.without_vector`."""
        return await self._found({**_of(of), "renew_at": {"$lte": now}}, "renew_at", limit)

    async def embedded(self, of: ExampleSet, example: str, *, renew_at: datetime) -> bool:
        """See `StoredExamples.embedded`."""
        chosen = {"_id": _id(of.project, of.id, example)}
        with translated():
            result = await self._examples.update_one(chosen, {"$set": {"renew_at": renew_at}})
        return bool(result.matched_count)

    async def others(self, of: ExampleSet, *, part: str, limit: int) -> Sequence[str]:
        """See `StoredExamples.others`."""
        where = {**_of(of), "part": {"$ne": part}}
        with translated():
            found = await self._examples.find(where, {"id": True}).limit(limit).to_list(limit)
        return [each["id"] for each in found]

    async def of_end_user(self, project: str, end_user: str, *, limit: int) -> Sequence[Found]:
        """See `StoredExamples.of_end_user`."""
        return await self._places({"project": project, "people": end_user}, limit)

    async def of_document(self, project: str, document: str, *, limit: int) -> Sequence[Found]:
        """See `StoredExamples.of_document`."""
        return await self._places({"project": project, "documents": document}, limit)

    async def remove(self, project: str, set_id: str, ids: Sequence[str]) -> None:
        """See `StoredExamples.remove`."""
        if ids:
            with translated():
                await delete_many(self._examples, [_id(project, set_id, each) for each in ids])

    async def _ordered(self, of: ExampleSet, where: Document, limit: int) -> list[Example]:
        return await self._found({**_of(of), **where, "part": of.part}, "order", limit)

    async def _found(self, where: Document, order: str, limit: int) -> list[Example]:
        with translated():
            found = await self._examples.find(where).sort(order, 1).limit(limit).to_list(limit)
        return [_example(each) for each in found]

    async def _places(self, where: Document, limit: int) -> Sequence[Found]:
        with translated():
            found = await self._examples.find(where, {"set": True, "id": True}).limit(limit).to_list(limit)
        return [Found(set_id=each["set"], example=each["id"]) for each in found]


def _of(of: ExampleSet) -> Document:
    return {"project": of.project, "set": of.id}


def _id(project: str, set_id: str, example: str) -> str:
    return document_id(project, f"{set_id}/{example}")


def _set(document: Document) -> ExampleSet:
    named = {name: value for name, value in document.items() if name not in {"_id", "state"}}
    return ExampleSet(state=SetState(document["state"]), **named)


def _stored(example: Example) -> Document:
    return {
        **{name: getattr(example, name) for name in _EXAMPLE},
        "order": example.order,
        "people": sorted(example.people),
    }


def _example(document: Document) -> Example:
    named = {name: document[name] for name in _EXAMPLE}
    return Example(**named | {"documents": tuple(document["documents"]), "principals": tuple(document["principals"])})
