"""Values that are expected: a document each, found by its time."""

from collections.abc import Sequence
from datetime import datetime

from tidemill_core.application import Page, PageRequest, ResourceKey
from tidemill_feedback.maturity.domain import ExpectedValue
from tidemill_kit.store.mongo import Collection, document_id, insert_new, translated
from tidemill_kit.workers.pending import page_of_documents


class MongoExpectedValues:
    """Implements `ports.ExpectedValues`. `_id` is `<project>/<inference>/<metric>`."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    async def ensure_indexes(self) -> None:
        """Create what the controller needs; repeating it changes nothing."""
        with translated():
            await self._collection.create_index([("due", 1), ("_id", 1)])

    async def add(self, values: Sequence[ExpectedValue]) -> None:
        """See `ExpectedValues.add`."""
        new = [
            {"_id": _id(each.key), "project": each.project, "id": each.key.id, "since": each.since, "due": each.due}
            for each in values
        ]
        await insert_new(self._collection, new)

    async def get(self, key: ResourceKey) -> ExpectedValue | None:
        """See `ExpectedValues.get`."""
        with translated():
            found = await self._collection.find_one({"_id": _id(key)})
        if found is None:
            return None
        inference, _, metric = key.id.rpartition("/")
        return ExpectedValue(
            project=key.project, inference=inference, metric=metric, since=found["since"], due=found["due"]
        )

    async def due(self, now: datetime, *, page: PageRequest, without: frozenset[str]) -> Page[ResourceKey]:
        """See `ExpectedValues.due`."""
        found = await page_of_documents(
            self._collection,
            {"due": {"$lte": now}, "project": {"$nin": sorted(without)}},
            page.token,
            fields=["project", "id"],
            order_by="due",
            size=page.size,
        )
        keys = [ResourceKey(project=each["project"], id=each["id"]) for each in found.items]
        return Page(items=keys, next_token=found.next_token)

    async def put_off(self, key: ResourceKey, *, until: datetime) -> None:
        """See `ExpectedValues.put_off`."""
        with translated():
            await self._collection.update_one({"_id": _id(key)}, {"$set": {"due": until}})

    async def remove(self, key: ResourceKey) -> None:
        """See `ExpectedValues.remove`."""
        with translated():
            await self._collection.delete_one({"_id": _id(key)})


def _id(key: ResourceKey) -> str:
    return document_id(key.project, key.id)
