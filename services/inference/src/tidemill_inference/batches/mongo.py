"""Batches as documents, and what came of their lines until it is written to files."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from tidemill_core.application import ResourceKey
from tidemill_inference.batches.domain.batch import Batch, BatchState
from tidemill_inference.batches.domain.lines import Result
from tidemill_kit.erasure.documents import erase_documents, keys_of_others
from tidemill_kit.mapping import DocumentCodec, Form
from tidemill_kit.store.mongo import Collection as Documents
from tidemill_kit.store.mongo import Document, DuplicateId, delete_many, document_id, translated
from tidemill_kit.workers.pending import PendingDocuments

BATCHES = DocumentCodec(
    Batch, {Batch: Form(derived={"pending": lambda batch: not batch.final})}, enums_by_name=(BatchState,)
)
_PENDING: Document = {"state.pending": True}
_PAGE = 200
_DIGITS = 9


def pending_batches(batches: Documents) -> PendingDocuments:
    """Return what finds those that are not at their end."""
    where = {**_PENDING, "deleted": False}
    return PendingDocuments(batches, where, index="state.pending", partialFilterExpression=_PENDING)


class ResultsOfEndUsers:
    """Implements `generation.ports.EndUserData`: what came of lines of a person, until it is in files."""

    def __init__(self, results: Documents) -> None:
        self._results = results

    async def of_end_user(self, project: str, end_user: str, *, validate_only: bool = False) -> int:
        """See `EndUserData`."""
        where: Document = {"project": project, "end_user": end_user}
        if validate_only:
            with translated():
                return await self._results.count_documents(where)
        return await erase_documents(self._results, where)


class MongoResults:
    """Implements `ports.Results`: {_id: <project>/<batch>/<line>, project, end_user, ok, text}."""

    def __init__(self, results: Documents) -> None:
        self._results = results

    async def ensure_indexes(self) -> None:
        """Create what erasing an end user needs; repeating it changes nothing."""
        with translated():
            await self._results.create_index([("project", 1), ("end_user", 1)])

    async def done(self, batch: ResourceKey) -> Mapping[int, bool]:
        """See `Results.done`."""
        with translated():
            found = self._results.find(_of(batch), {"ok": True})
            return {int(each["_id"][-_DIGITS:]): each["ok"] async for each in found}

    async def add(self, batch: ResourceKey, result: Result) -> None:
        """See `Results.add`."""
        row = {
            "_id": f"{batch.key}/{result.line:0{_DIGITS}}",
            "project": batch.project,
            "end_user": result.end_user,
            "ok": result.ok,
            "text": result.text,
        }
        with suppress(DuplicateId), translated():
            await self._results.insert_one(row)

    async def all(self, batch: ResourceKey) -> AsyncIterator[Result]:
        """See `Results.all`."""
        last = ""
        while page := await self._page(batch, last):
            for each in page:
                last = each["_id"]
                line = int(last[-_DIGITS:])
                yield Result(line=line, ok=each["ok"], text=each["text"], end_user=each["end_user"])

    async def remove(self, batch: ResourceKey) -> None:
        """See `Results.remove`."""
        with translated():
            await self._results.delete_many(_of(batch))

    async def remove_of(self, batch: ResourceKey, end_users: Collection[str]) -> None:
        """See `Results.remove_of`."""
        where: Document = {"project": batch.project, "end_user": {"$in": sorted(end_users)}}
        with translated():
            found = await self._results.find(where, {"_id": True}).to_list(None)
            if ids := [each["_id"] for each in found if each["_id"].startswith(f"{batch.key}/")]:
                await delete_many(self._results, ids)

    async def _page(self, batch: ResourceKey, last: str) -> Sequence[Document]:
        where = {"$and": [_of(batch), {"_id": {"$gt": last}}]}
        with translated():
            return await self._results.find(where).sort("_id", 1).limit(_PAGE).to_list(_PAGE)


def _of(batch: ResourceKey) -> Document:
    return {"_id": {"$gt": f"{batch.key}/", "$lt": f"{batch.key}0"}}  # 0 follows the slash


class MongoOldBatches:
    """Implements `ports.OldBatches`."""

    def __init__(self, batches: Documents) -> None:
        self._batches = batches

    async def ensure_indexes(self) -> None:
        """Create what finds them; repeating it changes nothing."""
        with translated():
            await self._batches.create_index([("state.pending", 1), ("state.finish_time", 1)])

    async def ended_before(self, time: datetime, *, spares: Callable[[str], bool], limit: int) -> Sequence[ResourceKey]:
        """See `OldBatches.ended_before`."""
        where: Document = {"state.finish_time": {"$lt": time}, "state.pending": False}
        return await keys_of_others(self._batches, where, spares=spares, limit=limit)

    async def remove(self, batch: ResourceKey) -> None:
        """See `OldBatches.remove`."""
        with translated():
            await self._batches.delete_one({"_id": document_id(batch.project, batch.id)})
