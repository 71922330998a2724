"""Finds the index versions that the controller has to reconcile."""

from collections.abc import Callable
from datetime import datetime

from tidemill_core.application import Clock, Page
from tidemill_kit.store.mongo import Collection as MongoCollection
from tidemill_kit.store.mongo import Document, translated
from tidemill_kit.workers.pending import page_of_documents
from tidemill_rag.collections.domain.collection import IndexRef
from tidemill_rag.collections.domain.index_version import IndexState

_UNFINISHED = frozenset({IndexState.BUILDING.value, IndexState.RETIRED.value})
_ALL_VERSIONS, _UNFINISHED_VERSIONS, _PENDING_ROWS = "all", "unfinished", "pending"
_READ = ("number", "passages_of", "state", "expire_time")
_PAGE = 1000


class PendingIndexes:
    """Finds index versions for the controller: all of them once, as each process compares their points with the ledger.

    After that, those that are building, have expired or are retired, or whose counters show pending rows.
    """

    def __init__(self, collections: MongoCollection, ledger_counts: MongoCollection, *, clock: Clock) -> None:
        self._collections = collections
        self._ledger_counts = ledger_counts
        self._clock = clock
        self._all_seen = False

    async def ensure_indexes(self) -> None:
        """Create the MongoDB indexes for unfinished index versions; idempotent."""
        with translated():
            await self._collections.create_index([("state.indexes.state", 1), ("state.indexes.expire_time", 1)])
            await self._ledger_counts.create_index([("pending", 1)])

    async def __call__(self, token: str, /, *, without: frozenset[str]) -> Page[IndexRef]:
        """See `controller.Pending`. A token is that of a page, behind the list that the page is of."""
        listed, _, after = token.partition(":")
        if not listed:
            listed = _UNFINISHED_VERSIONS if self._all_seen else _ALL_VERSIONS
        if listed == _PENDING_ROWS:
            return _from(listed, await self._with_pending_rows(after), without=without)
        if listed == _UNFINISHED_VERSIONS:
            return _from(listed, await self._unfinished(after), without=without, then=_PENDING_ROWS)
        page = await self._versions({}, after, which=lambda _: True)
        self._all_seen = not page.next_token
        return _from(listed, page)  # of all projects: those left out would not be listed again

    async def _unfinished(self, token: str) -> Page[IndexRef]:
        now = self._clock.now()
        expired = {"state": IndexState.READY.value, "expire_time": {"$lte": now}}
        where = {
            "$or": [
                {"state.indexes.state": {"$in": sorted(_UNFINISHED)}},
                {"state.indexes": {"$elemMatch": expired}},
            ]
        }
        return await self._versions(where, token, which=lambda index: _is_unfinished(index, now))

    async def _versions(self, where: Document, token: str, *, which: Callable[[Document], bool]) -> Page[IndexRef]:
        fields = ["project", "id", *(f"state.indexes.{name}" for name in _READ)]
        found = await page_of_documents(self._collections, where, token, fields=fields, size=_PAGE)
        versions = [
            IndexRef(project=document["project"], collection=document["id"], number=_passages(index))
            for document in found.items
            for index in document["state"].get("indexes", [])
            if which(index)
        ]
        return Page(items=versions, next_token=found.next_token)

    async def _with_pending_rows(self, token: str) -> Page[IndexRef]:
        # Not {"$ne": 0}, which would scan the whole index.
        where = {"$or": [{"pending": {"$gt": 0}}, {"pending": {"$lt": 0}}]}
        found = await page_of_documents(self._ledger_counts, where, token, fields=[], size=_PAGE)
        named = [document["_id"].split("/") for document in found.items]
        versions = [IndexRef(project=project, collection=name, number=int(number)) for project, name, number in named]
        return Page(items=versions, next_token=found.next_token)


def _passages(index: Document) -> int:
    number: int = index.get("passages_of") or index["number"]
    return number


def _is_unfinished(index: Document, now: datetime) -> bool:
    """Return whether there is something to do: one that is READY waits, unless its time to be promoted back is over."""
    if index["state"] == IndexState.READY.value:
        expire_time = index.get("expire_time")
        return expire_time is not None and expire_time <= now
    return index["state"] in _UNFINISHED


def _from(
    listed: str, page: Page[IndexRef], *, without: frozenset[str] = frozenset(), then: str = ""
) -> Page[IndexRef]:
    """Return the page of a list without some projects; `then` is the list that follows it."""
    token = f"{listed}:{page.next_token}" if page.next_token else then and f"{then}:"
    return Page(items=[each for each in page.items if each.project not in without], next_token=token)
