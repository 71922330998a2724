"""Finds the index versions that the controller has to reconcile."""

from tidemill_core.application import Page
from tidemill_kit.store.mongo import Collection as MongoCollection
from tidemill_kit.store.mongo import Document, translated
from tidemill_rag.collections.domain import IndexRef, IndexState

_UNFINISHED = frozenset({IndexState.BUILDING, IndexState.RETIRED})


class PendingIndexes:
    """Finds index versions for the controller: all of them once, as each process compares their points with the ledger.

    After that, those that are building or retired, or whose counters show pending rows.
    """

    def __init__(self, collections: MongoCollection, ledger_counts: MongoCollection) -> None:
        self._collections = collections
        self._ledger_counts = ledger_counts
        self._all_seen = False

    async def ensure_indexes(self) -> None:
        """Create the MongoDB indexes for unfinished index versions; idempotent."""
        with translated():
            await self._collections.create_index([("state.indexes.state", 1)])
            await self._ledger_counts.create_index([("pending", 1)])

    async def __call__(self, _token: str, /, *, without: frozenset[str]) -> Page[IndexRef]:
        """See `controller.Pending`; there is one page."""
        if self._all_seen:
            return Page(items=[each for each in await self._unfinished() if each.project not in without])
        page = Page(items=await self._found({}, frozenset(IndexState)))
        self._all_seen = True
        return page

    async def _unfinished(self) -> list[IndexRef]:
        where = {"state.indexes.state": {"$in": [state.value for state in _UNFINISHED]}}
        with translated():
            # Not {"$ne": 0}, which would scan the whole index.
            waiting = {"$or": [{"pending": {"$gt": 0}}, {"pending": {"$lt": 0}}]}
            keys = [document["_id"] async for document in self._ledger_counts.find(waiting, {"_id": True})]
        named = [key.split("/") for key in keys]
        pending = [IndexRef(project=project, collection=name, number=int(number)) for project, name, number in named]
        return [*await self._found(where, _UNFINISHED), *pending]

    async def _found(self, where: Document, states: frozenset[IndexState]) -> list[IndexRef]:
        fields = {"project": True, "id": True, "state.indexes.number": True, "state.indexes.state": True}
        with translated():
            return [
                IndexRef(project=document["project"], collection=document["id"], number=index["number"])
                async for document in self._collections.find(where, fields)
                for index in document["state"].get("indexes", [])
                if IndexState(index["state"]) in states
            ]
