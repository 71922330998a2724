"""Versions to be counted, and the sketches of what was counted, in MongoDB.

`profile_versions`: `{_id: "<project>/<document>/<text>", project, id: source, due, stored_at, ...}`. `profile_days`:
`{_id: "<project>/<source>/<day>", version, counted: [name], count, categories, numbers, texts, documents}`.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from tidemill_ingest.profiles.domain.period import Period
from tidemill_ingest.profiles.domain.sketch import Distinct, Distribution, Sketch
from tidemill_ingest.profiles.domain.versions import NewVersion, Outcome
from tidemill_ingest.profiles.ports import BATCH, StoredSketch
from tidemill_ingest.quality.traits import Traits
from tidemill_kit.store.batching import Batched
from tidemill_kit.store.mongo import (
    Collection,
    Document,
    document_id,
    insert_new,
    translated,
    update_those,
)
from tidemill_kit.workers.pending import PendingDocuments

_OUTCOME_FIELDS = {"project": 1, "id": 1} | {
    f"state.versions.{name}": 1 for name in ("object.key", "accepted_at", "withheld.reason", "duplicate.exact")
}


class MongoNewVersions:
    """Implements `ports.NewVersions`; those that come at the same time are stored by one command."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._insert = Batched(self._insert_all)

    async def ensure_indexes(self) -> None:
        """Create what `due` reads by."""
        with translated():
            await self._collection.create_index([("project", 1), ("id", 1), ("due", 1)])

    async def add(self, project: str, version: NewVersion) -> None:
        """See `NewVersions.add`."""
        await self._insert(_stored_version(project, version))

    async def due(self, project: str, source: str, *, now: datetime) -> Sequence[NewVersion]:
        """See `NewVersions.due`."""
        chosen = {"project": project, "id": source, "due": {"$lte": now}}
        with translated():
            found = await self._collection.find(chosen).sort("due", 1).limit(BATCH).to_list(BATCH)
        return [_read_version(each) for each in found]

    async def postpone(self, project: str, versions: Sequence[NewVersion], *, due: datetime) -> None:
        """See `NewVersions.postpone`."""
        updates = [({"_id": document_id(project, each.name)}, {"$set": {"due": due}}) for each in versions]
        await update_those(self._collection, updates)

    async def remove(self, project: str, versions: Sequence[NewVersion]) -> None:
        """See `NewVersions.remove`."""
        with translated():
            await self._collection.delete_many({"_id": {"$in": [document_id(project, each.name) for each in versions]}})

    async def _insert_all(self, documents: Sequence[Document]) -> Sequence[None]:
        first = {each["_id"]: each for each in reversed(documents)}
        await insert_new(self._collection, list(first.values()))
        return [None] * len(documents)


def versions_due(versions: Collection, now: Callable[[], datetime]) -> PendingDocuments:
    """Find the sources with versions that are to be counted."""
    return PendingDocuments(versions, lambda: {"due": {"$lte": now()}}, index="due")


class MongoSketches:
    """Implements `ports.Sketches`."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    async def get(self, project: str, source: str, day: date) -> StoredSketch:
        """See `Sketches.get`."""
        with translated():
            found = await self._collection.find_one({"_id": _key(project, source, day)})
        if found is None:
            return StoredSketch()
        return StoredSketch(sketch=_read_sketch(found), version=found["version"], counted=frozenset(found["counted"]))

    async def save(self, project: str, source: str, day: date, stored: StoredSketch) -> bool:
        """See `Sketches.save`."""
        expected = {"_id": _key(project, source, day), "version": stored.version}
        fields = _stored_sketch(stored.sketch) | {"counted": sorted(stored.counted)}
        update = {"$set": fields, "$inc": {"version": 1}}
        if stored.version == 0:
            new = {"_id": expected["_id"], "version": 1, **fields}
            saved = not await insert_new(self._collection, [new])
        else:
            with translated():
                saved = (await self._collection.update_one(expected, update)).matched_count == 1
        stored.version += saved
        return saved

    async def finish(self, project: str, source: str, day: date, *, version: int) -> None:
        """See `Sketches.finish`."""
        chosen = {"_id": _key(project, source, day), "version": version}
        with translated():
            await self._collection.update_one(chosen, {"$set": {"counted": []}})

    async def of_period(self, project: str, source: str, period: Period) -> Callable[[], Sequence[tuple[date, Sketch]]]:
        """See `Sketches.of_period`."""
        chosen = {"_id": {"$gte": _key(project, source, period.first), "$lte": _key(project, source, period.last)}}
        with translated():
            found = await self._collection.find(chosen).sort("_id", 1).to_list(None)
        return lambda: [(_day(each), _read_sketch(each)) for each in found]

    async def remove_before(self, project: str, source: str, day: date) -> None:
        """See `Sketches.remove_before`."""
        chosen = {"_id": {"$gte": document_id(project, f"{source}/"), "$lt": _key(project, source, day)}}
        with translated():
            await self._collection.delete_many(chosen)


class MongoOutcomes:
    """Implements `ports.Outcomes`, by what documents say of their versions, without the rest of them."""

    def __init__(self, documents: Collection) -> None:
        self._documents = documents

    async def of(self, project: str, documents: Sequence[str]) -> Mapping[str, Outcome]:
        """See `Outcomes.of`."""
        keys = [document_id(project, each) for each in documents]
        with translated():
            found = await self._documents.find({"_id": {"$in": keys}}, _OUTCOME_FIELDS).to_list(len(keys))
        return {
            f"{each['id']}/{version['object']['key'].rpartition('/')[2]}": Outcome(
                saved_at=version["accepted_at"],
                withheld=tuple(rule["reason"] for rule in version.get("withheld") or ()),
                exact=(version.get("duplicate") or {}).get("exact"),
            )
            for each in found
            for version in each["state"].get("versions", ())
        }


def _key(project: str, source: str, day: date) -> str:
    return document_id(project, f"{source}/{day.isoformat()}")


def _day(document: Document) -> date:
    return date.fromisoformat(document["_id"].rpartition("/")[2])


def _stored_version(project: str, version: NewVersion) -> Document:
    traits = version.traits
    return {
        "_id": document_id(project, version.name),
        "project": project,
        "id": version.source,
        "due": version.stored_at,
        "stored_at": version.stored_at,
        "characters": traits.characters,
        "words": traits.words,
        "language": traits.language,
        "readability": traits.readability,
        "digest": traits.digest.to_bytes(8, "big"),
        "media_type": version.media_type,
        "channel": version.channel,
        "masked": dict(version.masked),
        "fields": list(version.fields),
    }


def _read_version(document: Document) -> NewVersion:
    _, name, text = document["_id"].split("/", 2)
    return NewVersion(
        document=name,
        text=text,
        source=document["id"],
        stored_at=document["stored_at"],
        traits=Traits(
            characters=document["characters"],
            words=document["words"],
            language=document["language"],
            readability=document["readability"],
            digest=int.from_bytes(document["digest"], "big"),
        ),
        media_type=document["media_type"],
        channel=document["channel"],
        masked=document["masked"],
        fields=tuple(document["fields"]),
    )


def _stored_sketch(sketch: Sketch) -> Document:
    return {
        "count": sketch.count,
        # Names of categories may have dots, which names of fields may not.
        "categories": {
            column: [{"name": name, "count": count} for name, count in counts.items()]
            for column, counts in sketch.categories.items()
        },
        "numbers": {
            column: {"sketch": values.to_bytes(), "total": values.total} for column, values in sketch.numbers.items()
        },
        "texts": sketch.texts.to_bytes(),
        "documents": sketch.documents.to_bytes(),
    }


def _read_sketch(document: Mapping[str, Any]) -> Sketch:
    return Sketch(
        count=document["count"],
        categories={
            column: {each["name"]: each["count"] for each in counts}
            for column, counts in document["categories"].items()
        },
        numbers={
            column: Distribution(values["sketch"], total=values["total"])
            for column, values in document["numbers"].items()
        },
        texts=Distinct(document["texts"]),
        documents=Distinct(document["documents"]),
    )
