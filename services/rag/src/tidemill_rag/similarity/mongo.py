"""The ledger of texts that are found by similarity.

`{_id: "<project>/<id>", project, id, place, dimensions, end_user, expire_time}`, and for each index
`{_id: "<project>/<dimensions>", project, dimensions}`.
"""

from collections.abc import Collection as Some
from collections.abc import Sequence
from datetime import datetime

from tidemill_kit.store.mongo import Collection, Document, count_up_to, delete_many, document_id, translated
from tidemill_rag.similarity.domain import SimilarText


class MongoSimilarTexts:
    """Implements `ports.SimilarTexts`."""

    def __init__(self, texts: Collection, indexes: Collection) -> None:
        self._texts = texts
        self._indexes = indexes

    async def ensure_indexes(self) -> None:
        """Create what finds the texts of a project, of a person, and those that have expired."""
        with translated():
            await self._texts.create_index([("project", 1), ("expire_time", 1)])
            await self._texts.create_index([("expire_time", 1)])
            await self._texts.create_index([("project", 1), ("end_user", 1), ("expire_time", 1)])
            await self._indexes.create_index([("project", 1)])

    async def put(self, project: str, text: SimilarText) -> None:
        """See `SimilarTexts.put`."""
        stored = {
            "project": project,
            "id": text.id,
            "place": text.place,
            "dimensions": text.dimensions,
            "end_user": text.end_user,
            "expire_time": text.expire_time,
        }
        with translated():
            await self._texts.update_one({"_id": document_id(project, text.id)}, {"$set": stored}, upsert=True)

    async def current(self, project: str, ids: Sequence[str], *, place: str, now: datetime) -> Some[str]:
        """See `SimilarTexts.current`."""
        chosen = {**_those(project, ids), "place": place, "expire_time": {"$gt": now}}
        return {text.id for _, text in await self._found(chosen, limit=len(ids))}

    async def get(self, project: str, ids: Sequence[str]) -> Sequence[SimilarText]:
        """See `SimilarTexts.get`."""
        return [text for _, text in await self._found(_those(project, ids), limit=len(ids))]

    async def of_end_user(self, project: str, end_user: str, *, limit: int) -> Sequence[SimilarText]:
        """See `SimilarTexts.of_end_user`."""
        return [text for _, text in await self._found({"project": project, "end_user": end_user}, limit=limit)]

    async def expired(self, before: datetime, *, limit: int) -> Sequence[tuple[str, SimilarText]]:
        """See `SimilarTexts.expired`."""
        return await self._found({"expire_time": {"$lte": before}}, limit=limit)

    async def first(self, project: str, *, limit: int) -> Sequence[SimilarText]:
        """See `SimilarTexts.first`."""
        return [text for _, text in await self._found({"project": project}, limit=limit)]

    async def count(self, project: str, *, limit: int) -> int:
        """See `SimilarTexts.count`."""
        return await count_up_to(self._texts, {"project": project}, limit=limit)

    async def remove(self, project: str, ids: Sequence[str]) -> None:
        """See `SimilarTexts.remove`."""
        if ids:
            with translated():
                await delete_many(self._texts, [document_id(project, each) for each in ids])

    async def add_index(self, project: str, dimensions: int) -> None:
        """See `SimilarTexts.add_index`."""
        stored = {"project": project, "dimensions": dimensions}
        with translated():
            await self._indexes.update_one(
                {"_id": document_id(project, str(dimensions))}, {"$set": stored}, upsert=True
            )

    async def indexes(self, project: str) -> Sequence[int]:
        """See `SimilarTexts.indexes`."""
        with translated():
            found = await self._indexes.find({"project": project}).to_list(None)
        return [int(each["dimensions"]) for each in found]

    async def _found(self, chosen: Document, *, limit: int) -> list[tuple[str, SimilarText]]:
        with translated():
            found = await self._texts.find(chosen).sort("expire_time", 1).limit(limit).to_list(limit)
        return [(each["project"], _text(each)) for each in found]


def _those(project: str, ids: Sequence[str]) -> Document:
    return {"_id": {"$in": [document_id(project, each) for each in ids]}}


def _text(document: Document) -> SimilarText:
    return SimilarText(
        id=document["id"],
        place=document["place"],
        dimensions=document["dimensions"],
        expire_time=document["expire_time"],
        end_user=document["end_user"],
    )
