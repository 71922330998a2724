"""The ledger in MongoDB: one small document a row, found by `_id` on every hot path."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tidemill_kit.domain import ObjectRef
from tidemill_kit.mongo import Collection, Document, DuplicateId, translated
from tidemill_rag.domain.collection import IndexRef
from tidemill_rag.domain.ledger import Counts, Row, Wanted

_PENDING, _INDEXED, _FAILED = "pending", "indexed", "failed"


class MongoLedger:
    """Implements `ports.Ledger`. `_id` is `<project>/<collection>/<index>/<document>`.

    `state` says again what the numbers say, so that an index finds what is pending.
    """

    def __init__(self, rows: Collection) -> None:
        self._rows = rows

    async def ensure_indexes(self) -> None:
        """Create what the worker's searches need; repeating it changes nothing."""
        with translated():
            await self._rows.create_index([("index", 1), ("state", 1)])

    async def want(self, index: IndexRef, wanted: Wanted) -> bool:
        """See `Ledger.want`."""
        row_id = _row_id(index, wanted.document)
        news: Document = {
            "wanted_seq": wanted.seq,
            "source": wanted.source,
            "key": wanted.key,
            "version": wanted.version,
            "content": asdict(wanted.content) if wanted.content else None,
            "deleted": wanted.content is None,
            "state": _PENDING,
            "attempts": 0,
            "failure": "",
        }
        first: Document = {"index": index.key, "document": wanted.document, "indexed_seq": 0, "chunks": 0}
        if wanted.content is None or wanted.begins:
            news["hidden_below"] = wanted.seq
        else:
            first["hidden_below"] = 0
        try:
            with translated():
                result = await self._rows.update_one(
                    {"_id": row_id, "wanted_seq": {"$lt": wanted.seq}},
                    {"$set": news, "$setOnInsert": first},
                    upsert=True,
                )
        except DuplicateId:
            return False  # something as new is wanted already
        return result.matched_count == 1 or result.upserted_id is not None

    async def take(self, index: IndexRef, *, epoch: int, limit: int) -> Sequence[Row]:
        """See `Ledger.take`."""
        with translated():
            found = await self._rows.find({"index": index.key, "state": _PENDING}).limit(limit).to_list(None)
            if found:
                ids = [document["_id"] for document in found]
                await self._rows.update_many({"_id": {"$in": ids}, **_not_later(epoch)}, {"$set": {"epoch": epoch}})
        return [_row(document) for document in found]

    async def settle(self, index: IndexRef, row: Row, *, epoch: int, chunks: int) -> bool:
        """See `Ledger.settle`."""
        done = {"indexed_seq": row.wanted.seq, "chunks": chunks, "state": _INDEXED, "failure": "", "attempts": 0}
        return await self._write(index, row, epoch, done)

    async def fail(self, index: IndexRef, row: Row, *, epoch: int, message: str, final: bool) -> bool:
        """See `Ledger.fail`."""
        failed: Document = {"attempts": row.attempts + 1}
        if final:
            failed |= {"state": _FAILED, "failure": message}
        return await self._write(index, row, epoch, failed)

    async def rows(self, index: IndexRef, documents: Sequence[str]) -> Mapping[str, Row]:
        """See `Ledger.rows`."""
        if not documents:
            return {}
        ids = [_row_id(index, document) for document in documents]
        with translated():
            found = await self._rows.find({"_id": {"$in": ids}}).to_list(None)
        return {document["document"]: _row(document) for document in found}

    async def counts(self, index: IndexRef) -> Counts:
        """See `Ledger.counts`."""
        grouped = {"_id": {"state": "$state", "deleted": "$deleted"}, "n": {"$sum": 1}, "chunks": {"$sum": "$chunks"}}
        with translated():
            cursor = self._rows.aggregate([{"$match": {"index": index.key}}, {"$group": grouped}])
            groups = await cursor.to_list(None)
        present = {group["_id"]["state"]: group["n"] for group in groups if not group["_id"]["deleted"]}
        return Counts(
            wanted=sum(present.values()),
            indexed=present.get(_INDEXED, 0),
            failed=present.get(_FAILED, 0),
            chunks=sum(group["chunks"] for group in groups if not group["_id"]["deleted"]),
            pending=sum(group["n"] for group in groups if group["_id"]["state"] == _PENDING),
        )

    async def reset(self, index: IndexRef, *, epoch: int) -> None:
        """See `Ledger.reset`."""
        again = {"state": _PENDING, "attempts": 0, "failure": "", "epoch": epoch}
        present = {"index": index.key, "deleted": False, **_not_later(epoch)}
        with translated():
            await self._rows.update_many(present, {"$set": again})

    async def drop(self, index: IndexRef) -> None:
        """See `Ledger.drop`."""
        with translated():
            await self._rows.delete_many({"index": index.key})

    async def _write(self, index: IndexRef, row: Row, epoch: int, changes: Document) -> bool:
        still = {"_id": _row_id(index, row.wanted.document), "wanted_seq": row.wanted.seq, **_not_later(epoch)}
        with translated():
            result = await self._rows.update_one(still, {"$set": {**changes, "epoch": epoch}})
        return result.matched_count == 1


def _row_id(index: IndexRef, document: str) -> str:
    return f"{index.key}/{document}"


def _not_later(epoch: int) -> dict[str, Any]:
    """Match rows that no later holder of the lease has written; nobody has written those without an epoch."""
    return {"epoch": {"$not": {"$gt": epoch}}}


def _row(document: Document) -> Row:
    content = document["content"]
    return Row(
        wanted=Wanted(
            document=document["document"],
            source=document["source"],
            key=document["key"],
            seq=document["wanted_seq"],
            version=document["version"],
            content=ObjectRef(**content) if content else None,
        ),
        indexed_seq=document["indexed_seq"],
        chunks=document["chunks"],
        attempts=document["attempts"],
        failure=document["failure"],
        hidden_below=document.get("hidden_below", 0),
        again=document["state"] == _PENDING and document["indexed_seq"] == document["wanted_seq"],
    )
