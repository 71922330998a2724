"""Blocks of texts, counted in MongoDB: each call reads and writes by `_id`, whatever the number of documents.

`block_counts`: `{_id: "<project>/<source>/<digest>", documents}`, and under the digest `-` all documents of the source.
`document_blocks`: `{_id: "<project>/<source>/<document>", blocks: [digest]}`. While the counts do not have a change of
a row yet, the row has it, too: `{add: [digest], drop: [digest]}`, and no `blocks` if the document is to be removed.
While a source is being forgotten, it has a row `{_id: "<project>/<source>/!", project, id: source, forgotten: true,
deletion: <uuid>}` in `block_counts`: nothing counts until a controller has removed the others, and then this one. Who
finds the row of a later deletion, or none, removes nothing more.
"""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from tidemill_ingest.quality.boilerplate import BlockCounts
from tidemill_kit.store.mongo import (
    Collection,
    Document,
    DuplicateId,
    delete_many,
    document_id,
    insert_new,
    translated,
    update_each,
)
from tidemill_kit.workers.pending import PendingDocuments

_ALL = "-"
_FORGOTTEN = "!"
_BATCH = 1000
"""Rows that are deleted at once, of a source that is forgotten."""
_FIELDS = ("blocks", "add", "drop")


class MongoBlocks:
    """Implements `ports.SharedBlocks`.

    A change that a crash or a failed call interrupts is in the row, and is counted by the next call that finds it. One
    that was executed without an answer, or that two calls for one document find at once, is counted twice.
    """

    def __init__(self, counts: Collection, documents: Collection, *, batch: int = _BATCH) -> None:
        self._batch = batch
        self._counts = counts
        self._documents = documents

    async def put(self, project: str, source: str, document: str, digests: Sequence[str]) -> None:
        """See `SharedBlocks.put`."""
        if not await self._is_forgotten(project, source):
            await self._change(project, source, document, digests)

    async def counts(self, project: str, source: str, digests: Sequence[str]) -> BlockCounts:
        """See `SharedBlocks.counts`."""
        ids = {_id(project, source, each): each for each in (_FORGOTTEN, _ALL, *digests)}
        with translated():
            found = await self._counts.find({"_id": {"$in": list(ids)}}).to_list(len(ids))
        if any(ids[each["_id"]] == _FORGOTTEN for each in found):
            return BlockCounts(documents=0, with_block={})
        counts = {ids[each["_id"]]: int(each["documents"]) for each in found}
        return BlockCounts(documents=counts.pop(_ALL, 0), with_block=counts)

    async def of_document(self, project: str, source: str, document: str) -> Sequence[str] | None:
        """See `SharedBlocks.of_document`."""
        with translated():
            found = await self._documents.find_one({"_id": _id(project, source, document)})
        if not found or await self._is_forgotten(project, source):
            return None
        await self._count(project, source, found)
        return list(found["blocks"]) if "blocks" in found else None

    async def remove(self, project: str, source: str, document: str) -> int:
        """See `SharedBlocks.remove`."""
        dropped = await self._change(project, source, document, None)
        return len(dropped - {_ALL})

    async def forget(self, project: str, source: str) -> None:
        """See `SharedBlocks.forget`."""
        row = {"_id": _id(project, source, _FORGOTTEN), "project": project, "id": source, "forgotten": True}
        await insert_new(self._counts, [row | {"deletion": str(uuid4())}])

    async def remove_forgotten(self, project: str, source: str) -> None:
        """See `SharedBlocks.remove_forgotten`."""
        with translated():
            marker = await self._counts.find_one({"_id": _id(project, source, _FORGOTTEN)}, {"deletion": True})
        if marker is None:
            return
        this = {"_id": marker["_id"], "deletion": marker.get("deletion")}
        others = {"_id": {"$gt": marker["_id"], "$lt": f"{document_id(project, source)}0"}}
        for collection in (self._documents, self._counts):
            while True:
                with translated():
                    found = await collection.find(others, {"_id": True}).limit(self._batch).to_list(None)
                    if await self._counts.find_one(this, {"_id": True}) is None:
                        return  # another process came to the end, and these may count for a new source
                    if not found:
                        break
                    await delete_many(collection, [each["_id"] for each in found])
        with translated():
            await self._counts.delete_one(this)

    async def _is_forgotten(self, project: str, source: str) -> bool:
        with translated():
            return await self._counts.find_one({"_id": _id(project, source, _FORGOTTEN)}, {"_id": True}) is not None

    async def _change(self, project: str, source: str, document: str, digests: Sequence[str] | None) -> set[str]:
        """Have these blocks for those of a document, None to remove it, and return what is counted no longer."""
        id_ = _id(project, source, document)
        desired = set() if digests is None else {_ALL, *digests}
        while True:  # again where another call for the same document came between
            with translated():
                row: Any = await self._documents.find_one({"_id": id_})
            if row is None and digests is None:
                return set()
            counted = _counted(row or {})
            if row and "add" not in row and counted == desired:
                return set()
            changed = {"_id": id_, "add": sorted(desired - counted), "drop": sorted(counted - desired)}
            changed |= {} if digests is None else {"blocks": list(digests)}
            if await self._replaced(row, changed):
                await self._count(project, source, changed)
                return counted - desired

    async def _replaced(self, before: Document | None, row: Document) -> bool:
        """Write a row in place of one, None for none; return False where there is another one by now."""
        try:
            with translated():
                if before is None:
                    await self._documents.insert_one(row)
                    return True
                expected = {field: before.get(field, {"$exists": False}) for field in ("_id", *_FIELDS)}
                return bool((await self._documents.replace_one(expected, row)).matched_count)
        except DuplicateId:
            return False

    async def _count(self, project: str, source: str, row: Document) -> None:
        """Count what the row says is not counted yet, and no longer say it there."""
        if "add" not in row:
            return
        add, drop = ([_id(project, source, each) for each in row[field]] for field in ("add", "drop"))
        changes: list[tuple[Document, Document]] = [
            ({"_id": each}, {"$inc": {"documents": by}}) for ids, by in ((add, 1), (drop, -1)) for each in ids
        ]
        same = {field: row[field] for field in ("_id", "add", "drop")}
        with translated():
            if changes:
                await update_each(self._counts, changes)
            if "blocks" in row:
                await self._documents.update_one(same, {"$unset": {"add": "", "drop": ""}})
            else:
                await self._documents.delete_one(same | {"blocks": {"$exists": False}})
            if drop:
                await self._counts.delete_many({"_id": {"$in": drop}, "documents": {"$lte": 0}})


def forgotten_sources(counts: Collection) -> PendingDocuments:
    """Find the sources of which blocks are to be removed."""
    return PendingDocuments(counts, {"forgotten": True}, index="forgotten", partialFilterExpression={"forgotten": True})


def _counted(row: Document) -> set[str]:
    """Return what the counts have of a row: its blocks, less what is to be added, and what is to be dropped."""
    known = {_ALL, *row["blocks"]} if "blocks" in row else set[str]()
    return known.difference(row.get("add", ())).union(row.get("drop", ()))


def _id(project: str, source: str, name: str) -> str:
    return document_id(project, f"{source}/{name}")
