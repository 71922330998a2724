"""Blocks of texts, counted in MongoDB: each call reads and writes by `_id`, whatever the number of documents.

`block_counts`: `{_id: "<project>/<source>/<digest>", documents}`, and under the digest `-` all documents of the source.
`document_blocks`: `{_id: "<project>/<source>/<document>", blocks: [digest]}`.
"""

from collections.abc import Iterable, Sequence

from tidemill_ingest.quality.boilerplate import BlockCounts
from tidemill_kit.store.mongo import Collection, Document, document_id, translated, update_each

_ALL = "-"


class MongoBlocks:
    """Implements `ports.SharedBlocks`. What a crash interrupts may leave a count one too low, or one too high."""

    def __init__(self, counts: Collection, documents: Collection) -> None:
        self._counts = counts
        self._documents = documents

    async def put(self, project: str, source: str, document: str, digests: Sequence[str]) -> None:
        """See `SharedBlocks.put`."""
        chosen = {"_id": _id(project, source, document)}
        with translated():
            before = await self._documents.find_one_and_update(
                chosen, {"$set": {"blocks": list(digests)}}, {"blocks": True}, upsert=True
            )
        known = set(before["blocks"]) if before else set()
        new = [each for each in digests if each not in known]
        await self._add(project, source, new if before else [_ALL, *new], by=1)
        await self._add(project, source, known.difference(digests), by=-1)

    async def counts(self, project: str, source: str, digests: Sequence[str]) -> BlockCounts:
        """See `SharedBlocks.counts`."""
        ids = {_id(project, source, each): each for each in (_ALL, *digests)}
        with translated():
            found = await self._counts.find({"_id": {"$in": list(ids)}}).to_list(len(ids))
        counts = {ids[each["_id"]]: int(each["documents"]) for each in found}
        return BlockCounts(documents=counts.pop(_ALL, 0), with_block=counts)

    async def of_document(self, project: str, source: str, document: str) -> Sequence[str] | None:
        """See `SharedBlocks.of_document`."""
        with translated():
            found = await self._documents.find_one({"_id": _id(project, source, document)})
        return list(found["blocks"]) if found else None

    async def remove(self, project: str, source: str, document: str) -> int:
        """See `SharedBlocks.remove`."""
        with translated():
            before = await self._documents.find_one_and_delete({"_id": _id(project, source, document)})
        if not before:
            return 0
        await self._add(project, source, [_ALL, *before["blocks"]], by=-1)
        return len(before["blocks"])

    async def remove_source(self, project: str, source: str) -> None:
        """See `SharedBlocks.remove_source`."""
        below = {"_id": {"$gte": _id(project, source, ""), "$lt": f"{document_id(project, source)}0"}}
        with translated():
            await self._documents.delete_many(below)
            await self._counts.delete_many(below)

    async def _add(self, project: str, source: str, digests: Iterable[str], *, by: int) -> None:
        ids = [_id(project, source, each) for each in digests]
        if not ids:
            return
        change: Document = {"$inc": {"documents": by}}
        with translated():
            await update_each(self._counts, [({"_id": each}, change) for each in ids])
            if by < 0:
                await self._counts.delete_many({"_id": {"$in": ids}, "documents": {"$lte": 0}})


def _id(project: str, source: str, name: str) -> str:
    return document_id(project, f"{source}/{name}")
