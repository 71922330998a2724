"""Finds the items of queues, each by an index."""

from collections.abc import Sequence
from datetime import datetime

from tidemill_core.errors import Conflict
from tidemill_feedback.reviews.domain.item import ItemState
from tidemill_feedback.reviews.domain.queue import EndedQueue
from tidemill_feedback.reviews.ports import ItemCounts
from tidemill_kit.store.mongo import Collection, Document, count_up_to, translated

_BATCH = 500
_INDEXES = (
    ("project", "state.queue_key", "state.state", "state.gold", "state.place"),
    ("project", "state.queue_key", "state.state", "state.gold", "state.stratum"),
    ("project", "state.queue_key", "state.claimed_by"),
    ("project", "state.queue", "state.state", "state.incarnation"),
    ("project", "state.queue", "state.incarnation"),
    ("project", "state.end_user"),
    ("project", "state.documents"),
    ("project", "state.named"),
)


class MongoItems:
    """Implements `ports.Items`."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    async def ensure_indexes(self) -> None:
        """Create the indexes; idempotent."""
        with translated():
            for fields in _INDEXES:
                await self._collection.create_index([(name, 1) for name in fields])

    async def claimed(self, project: str, key: str, reviewer: str) -> Sequence[str]:
        """See `Items.claimed`."""
        query = {"project": project, "state.queue_key": key, "state.claimed_by": reviewer}
        return await self._ids(query | {"state.state": ItemState.OPEN.value}, order_by="id", limit=10)

    async def free(  # noqa: PLR0913 - whose next items, of which
        self, project: str, key: str, reviewer: str, *, start: float, gold: bool, now: datetime, limit: int
    ) -> Sequence[str]:
        """See `Items.free`."""
        query = _open(project, key, gold=gold)
        query |= {"state.free_at": {"$lte": now}, "state.seen_by": {"$ne": reviewer}}
        query["state.end_user"] = {"$ne": reviewer}
        found = [*await self._ids(query | {"state.place": {"$gte": start}}, order_by="state.place", limit=limit)]
        if len(found) < limit:
            rest, left = query | {"state.place": {"$lt": start}}, limit - len(found)
            found += await self._ids(rest, order_by="state.place", limit=left)
        return found

    async def open(self, project: str, key: str, *, limit: int, stratum: str = "") -> int:
        """See `Items.open`."""
        query = _open(project, key, gold=False) | ({"state.stratum": stratum} if stratum else {})
        return await count_up_to(self._collection, query, limit=limit)

    async def counts(self, project: str, key: str) -> ItemCounts:
        """See `Items.counts`."""
        of_queue: Document = {"project": project, "state.queue_key": key}
        by_state, gold = dict[ItemState, int](), 0
        with translated():
            for state in (ItemState.OPEN, ItemState.RESOLVED, ItemState.DISPUTED):
                query = of_queue | {"state.state": state.value, "state.gold": False}
                by_state[state] = await self._collection.count_documents(query)
            gold = await self._collection.count_documents(_open(project, key, gold=True))
        return ItemCounts(by_state=by_state, gold=gold)

    async def of_end_user(self, project: str, end_user: str, *, limit: int) -> Sequence[str]:
        """See `Items.of_end_user`."""
        return await self._ids({"project": project, "state.end_user": end_user}, order_by="", limit=limit)

    async def of_document(self, project: str, document: str, *, limit: int) -> Sequence[str]:
        """See `Items.of_document`."""
        return await self._ids({"project": project, "state.documents": document}, order_by="", limit=limit)

    async def naming(self, project: str, reviewer: str, *, limit: int) -> Sequence[str]:
        """See `Items.naming`."""
        return await self._ids({"project": project, "state.named": reviewer}, order_by="", limit=limit)

    async def old(self, project: str, *, before: datetime, limit: int) -> Sequence[str]:
        """See `Items.old`; the index of the list of all items leads to the oldest."""
        query = {"project": project, "create_time": {"$lt": before}, "update_time": {"$lt": before}}
        return await self._ids(query, order_by="create_time", limit=limit)

    async def resolved(self, ended: EndedQueue) -> Sequence[str]:
        """See `Items.resolved`."""
        query = _of_ended(ended) | {"state.state": ItemState.RESOLVED.value}
        with translated():
            return [each["id"] for each in await self._collection.find(query, {"id": True}).limit(_BATCH).to_list(None)]

    async def drop(self, ended: EndedQueue) -> int:
        """See `Items.drop`."""
        with translated():
            others = _of_ended(ended) | {"state.state": {"$ne": ItemState.RESOLVED.value}}
            found = await self._collection.find(others, {"_id": True}).limit(_BATCH).to_list(None)
            if not found:
                return 0
            published = others | {"_id": {"$in": [each["_id"] for each in found]}, "outbox": []}
            removed = (await self._collection.delete_many(published)).deleted_count
        if removed:
            return int(removed)
        message = f"items of review queue {ended.queue} have events that are not published yet"
        raise Conflict(message, queue=ended.queue)

    async def _ids(self, query: Document, *, order_by: str, limit: int) -> Sequence[str]:
        with translated():
            found = self._collection.find({**query, "deleted": False}, {"id": True})
            if order_by:
                found = found.sort([(order_by, 1)])
            return [each["id"] for each in await found.limit(limit).to_list(None)]


def _of_ended(ended: EndedQueue) -> Document:
    return {"project": ended.project, "state.queue": ended.queue, "state.incarnation": {"$lte": ended.until}}


def _open(project: str, key: str, *, gold: bool) -> Document:
    return {
        "project": project,
        "state.queue_key": key,
        "state.state": ItemState.OPEN.value,
        "state.gold": gold,
    }
