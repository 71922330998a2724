"""Which inferences have the answers, and what that saved.

Entries are `{_id: "<project>/<key>", project, deployment, inference, expire_time}`, savings
`{_id: "<project>/<deployment>/<day>", project, deployment, day, <a field of Savings>, ...}`.
"""

from collections.abc import Sequence
from dataclasses import fields
from datetime import date, datetime

from tidemill_inference.caching.domain.savings import DailySavings, Savings
from tidemill_inference.caching.ports import Entry
from tidemill_kit.erasure.documents import erase_documents
from tidemill_kit.store.mongo import Collection, Document, count_up_to, delete_many, document_id, translated


class MongoCachedAnswers:
    """Implements `ports.CachedAnswers`."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    async def ensure_indexes(self) -> None:
        """Create what finds the entries of a project, and those that have expired; repeating it changes nothing."""
        with translated():
            await self._collection.create_index([("project", 1), ("expire_time", 1)])
            await self._collection.create_index([("expire_time", 1)])

    async def get(self, project: str, key: str) -> Entry | None:
        """See `CachedAnswers.get`."""
        with translated():
            found = await self._collection.find_one({"_id": document_id(project, key)})
        if found is None:
            return None
        named = {name: found[name] for name in ("deployment", "inference", "expire_time")}
        return Entry(key=key, **named)

    async def put(self, project: str, entry: Entry) -> None:
        """See `CachedAnswers.put`."""
        kept = {
            "project": project,
            "deployment": entry.deployment,
            "inference": entry.inference,
            "expire_time": entry.expire_time,
        }
        with translated():
            await self._collection.update_one({"_id": document_id(project, entry.key)}, {"$set": kept}, upsert=True)

    async def remove(self, project: str, entry: Entry) -> None:
        """See `CachedAnswers.remove`."""
        chosen: Document = {"_id": document_id(project, entry.key), "inference": entry.inference}
        with translated():
            await self._collection.delete_one(chosen)

    async def count(self, project: str, *, limit: int) -> int:
        """See `CachedAnswers.count`."""
        return await count_up_to(self._collection, {"project": project}, limit=limit)

    async def remove_first(self, project: str, *, limit: int) -> int:
        """See `CachedAnswers.remove_first`."""
        return await self._remove({"project": project}, limit=limit)

    async def remove_expired(self, before: datetime, *, limit: int) -> int:
        """See `CachedAnswers.remove_expired`."""
        return await self._remove({"expire_time": {"$lte": before}}, limit=limit)

    async def _remove(self, where: Document, *, limit: int) -> int:
        with translated():
            first = self._collection.find(where, {"_id": True}).sort("expire_time", 1).limit(limit)
            ids = [each["_id"] for each in await first.to_list(limit)]
            return await delete_many(self._collection, ids) if ids else 0


_SUMS = tuple(each.name for each in fields(Savings) if each.name != "currency")


class MongoSavings:
    """Implements `ports.SavingsStore`."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    async def ensure_indexes(self) -> None:
        """Create what finds the days of a deployment, and old ones; repeating it changes nothing."""
        with translated():
            await self._collection.create_index([("project", 1), ("deployment", 1), ("day", -1)])
            await self._collection.create_index([("day", 1)])

    async def add(self, savings: DailySavings) -> None:
        """See `SavingsStore.add`."""
        added, day = savings.savings, savings.day.isoformat()
        named = {"project": savings.project, "deployment": savings.deployment, "day": day}
        change: Document = {
            "$inc": {name: value for name in _SUMS if (value := getattr(added, name))},
            "$set": {**named, **({"currency": added.currency} if added.currency else {})},
        }
        with translated():
            await self._collection.update_one(
                {"_id": document_id(savings.project, f"{savings.deployment}/{day}")}, change, upsert=True
            )

    async def since(self, project: str, deployment: str, day: date) -> Sequence[DailySavings]:
        """See `SavingsStore.since`."""
        chosen: Document = {"project": project, "deployment": deployment, "day": {"$gte": day.isoformat()}}
        with translated():
            found = await self._collection.find(chosen).sort("day", -1).to_list(None)
        return [_daily(each) for each in found]

    async def remove_before(self, day: date, *, limit: int) -> int:
        """See `SavingsStore.remove_before`."""
        return await erase_documents(self._collection, {"day": {"$lt": day.isoformat()}}, limit=limit)


def _daily(document: Document) -> DailySavings:
    known = {each.name: document[each.name] for each in fields(Savings) if each.name in document}
    return DailySavings(
        project=document["project"],
        deployment=document["deployment"],
        day=date.fromisoformat(document["day"]),
        savings=Savings(**known),
    )
