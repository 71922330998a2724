"""The ledger in MongoDB: one document per row, and one with the counters of each index version.

Every write of a row is followed by an increment of the counters. A crash between the two leaves them off, which shows
as a pending count without pending rows: then the holder of the lease recounts.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from collections.abc import Collection as Ids
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import uuid4

from tidemill_core.aggregate import ObjectRef
from tidemill_kit.store.batching import Batched
from tidemill_kit.store.mongo import (
    Collection,
    Document,
    DuplicateId,
    insert_new,
    patiently,
    translated,
    update_those,
    updated,
)
from tidemill_rag.collections.domain.collection import IndexRef
from tidemill_rag.indexing.domain.ledger import Counts, DesiredDocument, Row

_PENDING, _INDEXED, _FAILED = "pending", "indexed", "failed"
_PENDING_LARGE = "pending_large"
"""A separate state, so that large rows are queried separately; rows in the state pending may be large as well."""
_WAITING = (_PENDING, _PENDING_LARGE)
_BATCH_SIZE = 1000
"""Rows per command of operations on all rows of an index version."""
_COUNTED = {"state": True, "deleted": True, "chunks": True}


@dataclass(slots=True)
class _Due:
    """What the counters of an index version are to be incremented by, and who increments them."""

    difference: dict[str, int] = field(default_factory=dict)
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True)
class _Mark:
    """A row that was taken, and what it is to have by the holder of an epoch."""

    index: IndexRef
    row: Row
    epoch: int
    done: Document

    @property
    def row_id(self) -> str:
        return _row_id(self.index, self.row.desired.document)

    @property
    def expected(self) -> Document:
        """Match the row as long as no event and no later epoch has changed it."""
        return {"_id": self.row_id, "wanted_seq": self.row.desired.seq, **_not_later(self.epoch)}

    @property
    def changes(self) -> Document:
        return {**self.done, "epoch": self.epoch}

    @property
    def difference(self) -> dict[str, int]:
        """What it changes in the counters, where the row was pending."""
        before = {"state": _PENDING, "deleted": self.row.desired.content is None, "chunks": self.row.chunks}
        return _difference(before, before | self.done)


class MongoLedger:
    """Implements `ports.Ledger`. Hot paths use `_id`, which is `<project>/<collection>/<index>/<document>`.

    `state` is derived from the other fields, for the index that finds pending rows.
    """

    def __init__(self, rows: Collection, counts: Collection, *, large_bytes: int, count_s: float) -> None:
        self._rows = rows
        self._counts = counts
        self._large_bytes = large_bytes
        self._count_s = count_s
        self._due: dict[str, _Due] = {}
        """By index version; those that write at the same time share an increment."""
        self._begun = Batched(self._begin_all)
        self._marks = Batched(self._mark_all)

    async def ensure_indexes(self) -> None:
        """Create the MongoDB indexes; idempotent."""
        with translated():
            # The last two fields make the index cover the recount.
            await self._rows.create_index([("index", 1), ("state", 1), ("deleted", 1), ("chunks", 1)])
            await self._rows.create_index([("index", 1), ("source", 1), ("deleted", 1), ("document", 1)])

    async def upsert_desired(self, index: IndexRef, desired: DesiredDocument) -> bool:
        """See `Ledger.upsert_desired`. Documents that begin at the same time are inserted together."""
        return await (self._begun((index, desired)) if desired.begins else self._upsert(index, desired))

    async def _begin_all(self, news: Sequence[tuple[IndexRef, DesiredDocument]]) -> Sequence[bool]:
        if len(news) == 1:
            return [await self._upsert(*news[0])]
        first = {_row_id(each[0], each[1].document): each for each in reversed(news)}
        begun = {id(first[row_id]) for row_id in await self._insert(first)}
        # A row that was there, and the second event of one document, are updated each.
        return [id(each) in begun or await self._upsert(*each) for each in news]

    async def _insert(self, fresh: Mapping[str, tuple[IndexRef, DesiredDocument]]) -> set[str]:
        """Insert the rows that are not there, and return their ids."""
        documents = [{"_id": row_id, **_first(*each), **self._news(each[1])} for row_id, each in fresh.items()]
        taken = await insert_new(self._rows, documents)
        new = (each for each in documents if each["_id"] not in taken)
        await self._add_all((fresh[each["_id"]][0], _contribution(each)) for each in new)
        return fresh.keys() - taken

    async def _upsert(self, index: IndexRef, desired: DesiredDocument) -> bool:
        news, first = self._news(desired), _first(index, desired)
        older = {"_id": _row_id(index, desired.document), "wanted_seq": {"$lt": desired.seq}}
        begun = {name: first[name] for name in first.keys() - news.keys()}
        try:
            before = await updated(
                self._rows, older, {"$set": news, "$setOnInsert": begun}, fields=_COUNTED, upsert=True
            )
        except DuplicateId:
            # The row exists with the same or a higher seq, or a concurrent event has just inserted it with a lower one.
            before = await updated(self._rows, older, {"$set": news}, fields=_COUNTED)
            if before is None:
                return False
        await self._add(index, _difference(before, (before or first) | news))
        return True

    async def upsert_all_desired(self, index: IndexRef, desired: Sequence[DesiredDocument]) -> None:
        """See `Ledger.upsert_all_desired`."""
        fresh = {_row_id(index, each.document): (index, each) for each in desired}
        for row_id in sorted(fresh.keys() - await self._insert(fresh)):
            await self._upsert(*fresh[row_id])

    async def take(self, index: IndexRef, *, epoch: int, limit: int, large: bool = False) -> Sequence[Row]:
        """See `Ledger.take`."""
        state = _PENDING_LARGE if large else _PENDING
        with translated():
            found = await self._rows.find({"index": index.key, "state": state}).limit(limit).to_list(limit)
            if found:
                ids = [document["_id"] for document in found]
                await self._rows.update_many({"_id": {"$in": ids}, **_not_later(epoch)}, {"$set": {"epoch": epoch}})
        return [_row(document) for document in found]

    async def attempt(self, index: IndexRef, rows: Sequence[Row], *, epoch: int, by: int) -> None:
        """See `Ledger.attempt`."""
        ids = [_row_id(index, row.desired.document) for row in rows]
        waiting = {"_id": {"$in": ids}, "state": {"$in": list(_WAITING)}, **_not_later(epoch)}
        if by < 0:
            waiting["attempts"] = {"$gte": -by}
        with translated():
            await self._rows.update_many(waiting, {"$inc": {"attempts": by}})

    async def mark_indexed(self, index: IndexRef, row: Row, *, epoch: int, chunks: int, note: str = "") -> bool:
        """See `Ledger.mark_indexed`. Rows that are marked at the same time are marked together."""
        done = {"indexed_seq": row.desired.seq, "chunks": chunks, "state": _INDEXED, "failure": "", "attempts": 0}
        done |= {"note": note}
        return await self._marks(_Mark(index, row, epoch, done))

    async def _mark_all(self, marks: Sequence[_Mark]) -> Sequence[bool]:
        """Mark those that are pending by one command, which says by a name of its own what it has marked."""
        if len(marks) == 1:
            return [await self._write(marks[0])]
        first = {mark.row_id: mark for mark in reversed(marks)}
        marked = {id(first[row_id]) for row_id in await self._mark_pending(first)}
        return [id(mark) in marked or await self._write(mark) for mark in marks]

    async def _mark_pending(self, marks: Mapping[str, _Mark]) -> Ids[str]:
        name = uuid4().hex
        updates = [
            ({**mark.expected, "state": {"$in": list(_WAITING)}}, {"$set": {**mark.changes, "marked": name}})
            for mark in marks.values()
        ]
        marked: Ids[str] = marks.keys()
        if await update_those(self._rows, updates) < len(marks):
            with translated():
                found = self._rows.find({"_id": {"$in": list(marks)}, "marked": name}, {"_id": True})
                marked = {each["_id"] for each in await found.to_list(len(marks))}
        await self._add_all((marks[row_id].index, marks[row_id].difference) for row_id in marked)
        return marked

    async def fail(self, index: IndexRef, row: Row, *, epoch: int, message: str, final: bool) -> bool:
        """See `Ledger.fail`."""
        failed: Document = {"attempts": row.attempts + 1}
        if final:
            failed |= {"state": _FAILED, "failure": message}
        return await self._write(_Mark(index, row, epoch, failed))

    async def rows(self, index: IndexRef, documents: Sequence[str]) -> Mapping[str, Row]:
        """See `Ledger.rows`."""
        if not documents:
            return {}
        ids = [_row_id(index, document) for document in documents]
        with translated():
            found = await self._rows.find({"_id": {"$in": ids}}).to_list(len(ids))
        return {document["document"]: _row(document) for document in found}

    async def first(self, index: IndexRef, *, sources: Sequence[str], after: str, limit: int) -> Sequence[Row]:
        """See `Ledger.first`."""
        chosen = {"index": index.key, "source": {"$in": list(sources)}, "document": {"$gt": after}, "deleted": False}
        with translated():
            found = await self._rows.find(chosen).sort("document", 1).limit(limit).to_list(limit)
        return [_row(document) for document in found]

    async def counts(self, indexes: Sequence[IndexRef]) -> Mapping[IndexRef, Counts]:
        """See `Ledger.counts`."""
        keys = [index.key for index in indexes]
        with translated():
            found = await self._counts.find({"_id": {"$in": keys}}).to_list(len(keys)) if keys else []
        known = {document["_id"]: _counts(document) for document in found}
        return {index: known.get(index.key) or await self.count(index) for index in indexes}

    async def count(self, index: IndexRef) -> Counts:
        """See `Ledger.count`. Concurrent changes leave a difference, which causes another recount."""
        grouped = {"_id": {"state": "$state", "deleted": "$deleted"}, "n": {"$sum": 1}, "chunks": {"$sum": "$chunks"}}
        with patiently(self._count_s), translated():
            cursor = self._rows.aggregate([{"$match": {"index": index.key}}, {"$group": grouped}])
            total = dict.fromkeys(_contribution(None), 0)
            async for group in cursor:  # at most twice the number of states
                for name, one in _contribution(group["_id"] | {"chunks": 0}).items():
                    total[name] += one * group["n"]
                total["chunks"] += 0 if group["_id"]["deleted"] else group["chunks"]
            await self._counts.update_one({"_id": index.key}, {"$set": total}, upsert=True)
        return _counts(total)

    async def indexed(self, index: IndexRef) -> AsyncIterator[Sequence[Row]]:
        """See `Ledger.indexed`."""
        cursor = self._rows.find({"index": index.key, "state": _INDEXED, "deleted": False}).batch_size(_BATCH_SIZE)
        while True:
            with patiently(self._count_s), translated():
                page = await cursor.to_list(_BATCH_SIZE)
            if not page:
                return
            yield [_row(document) for document in page]

    async def reset(self, index: IndexRef, documents: Sequence[str], *, epoch: int) -> None:
        """See `Ledger.reset`."""
        again = {"attempts": 0, "failure": "", "epoch": epoch}
        large = {"content.size": {"$gt": self._large_bytes}}
        finished = {"state": _INDEXED, "deleted": False, **_not_later(epoch)}
        for begin in range(0, len(documents), _BATCH_SIZE):
            ids = [_row_id(index, document) for document in documents[begin : begin + _BATCH_SIZE]]
            chosen = {"_id": {"$in": ids}, **finished}
            with translated():
                await self._rows.update_many(chosen | large, {"$set": again | {"state": _PENDING_LARGE}})
                await self._rows.update_many(chosen, {"$set": again | {"state": _PENDING}})
        if documents:
            await self.count(index)

    async def drop(self, index: IndexRef) -> None:
        """See `Ledger.drop`."""
        while True:
            with translated():
                found = (
                    await self._rows.find({"index": index.key}, {"_id": True}).limit(_BATCH_SIZE).to_list(_BATCH_SIZE)
                )
                await self._rows.delete_many({"_id": {"$in": [document["_id"] for document in found]}})
            if len(found) < _BATCH_SIZE:
                break
        with translated():
            await self._counts.delete_one({"_id": index.key})

    async def _write(self, mark: _Mark) -> bool:
        before = await updated(self._rows, mark.expected, {"$set": mark.changes}, fields=_COUNTED)
        if before is None:
            return False
        await self._add(mark.index, _difference(before, before | mark.changes))
        return True

    async def _add_all(self, differences: Iterable[tuple[IndexRef, Mapping[str, int]]]) -> None:
        """Increment the counters of several rows, once for each index version."""
        by_index = defaultdict[IndexRef, Counter[str]](Counter)
        for index, difference in differences:
            by_index[index].update(difference)
        for index, total in by_index.items():
            await self._add(index, total)

    async def _add(self, index: IndexRef, difference: Mapping[str, int]) -> None:
        """Increment the counters; an index version without counters is recounted on the next read."""
        if not any(difference.values()):
            return
        due = self._due.setdefault(index.key, _Due())
        due.difference = {name: due.difference.get(name, 0) + one for name, one in difference.items()}
        async with due.writing:
            changed, due.difference = {name: one for name, one in due.difference.items() if one}, {}
            if changed:
                with translated():
                    await self._counts.update_one({"_id": index.key}, {"$inc": changed})
        if not due.difference:
            self._due.pop(index.key, None)

    def _news(self, desired: DesiredDocument) -> Document:
        """Return the fields of a row that an event sets."""
        large = desired.content is not None and desired.content.size > self._large_bytes
        news: Document = {
            "wanted_seq": desired.seq,
            "source": desired.source,
            "key": desired.key,
            "version": desired.version,
            "version_time": desired.version_time,
            "content": asdict(desired.content) if desired.content else None,
            "deleted": desired.content is None,
            "state": _PENDING_LARGE if large else _PENDING,
            "attempts": 0,
            "failure": "",
        }
        if desired.content is None or desired.begins:
            news["hidden_below"] = desired.seq
        return news


def _first(index: IndexRef, desired: DesiredDocument) -> Document:
    """Return the fields of a new row that events do not set."""
    return {"index": index.key, "document": desired.document, "indexed_seq": 0, "chunks": 0, "hidden_below": 0}


def _contribution(row: Mapping[str, Any] | None) -> dict[str, int]:
    """Return what a row adds to the counters; zeros for None."""
    state, present = (row["state"], not row["deleted"]) if row else ("", False)
    return {
        "wanted": int(present),
        "indexed": int(present and state == _INDEXED),
        "failed": int(present and state == _FAILED),
        "chunks": row["chunks"] if row and present else 0,
        "pending": int(state in _WAITING),
    }


def _difference(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> dict[str, int]:
    was = _contribution(before)
    return {name: one - was[name] for name, one in _contribution(after).items()}


def _counts(document: Mapping[str, Any]) -> Counts:
    stored = {name: document.get(name, 0) for name in _contribution(None)}
    return Counts(desired=stored.pop("wanted"), **stored)


def _row_id(index: IndexRef, document: str) -> str:
    return f"{index.key}/{document}"


def _not_later(epoch: int) -> dict[str, Any]:
    """Match rows that no later holder of the lease has written; rows without an epoch match as well."""
    return {"epoch": {"$not": {"$gt": epoch}}}


def _row(document: Document) -> Row:
    content = document["content"]
    return Row(
        desired=DesiredDocument(
            document=document["document"],
            source=document["source"],
            key=document["key"],
            seq=document["wanted_seq"],
            version=document["version"],
            version_time=document.get("version_time"),
            content=ObjectRef(**content) if content else None,
        ),
        indexed_seq=document["indexed_seq"],
        chunks=document["chunks"],
        attempts=document["attempts"],
        failure=document["failure"],
        note=document.get("note", ""),
        hidden_below=document.get("hidden_below", 0),
        again=document["state"] in _WAITING and document["indexed_seq"] == document["wanted_seq"],
    )
