"""The ledger in MongoDB: one small document per row, found by `_id` when an event is handled."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any

from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Page, PageRequest
from tidemill_core.paging import Place, checked_size, list_digest, place_of, token_after
from tidemill_feedback.curations.domain.ledger import (
    WITHDRAWN,
    Begun,
    CandidateExample,
    Counts,
    CurationRef,
    Row,
    Tally,
)
from tidemill_feedback.curations.domain.measures import Measures
from tidemill_feedback.errors import EpochOver
from tidemill_feedback.reactions.domain.reaction import CORRECTION
from tidemill_kit.store.mongo import Collection, Document, read_page, translated, update_or_insert

_OPEN: Document = {"open": True}
"""Unresolved rows; older ones without the field are found by a full count."""
_REFUSED: Document = {"refused": True}
_NOT_REFUSED: Document = {"refused": False, "refusal": ""}
_DIRTY: Document = {"dirty": True}
_DUE: Document = {"due": {"$gt": datetime(1970, 1, 1, tzinfo=UTC)}}
_BEGUN: Document = {"batch.completion": {"$gt": 0}}
_IDS_AT_A_TIME = 1000


class MongoLedger:
    """Implements `ports.Ledger`.

    `_id` of a row is `<project>/<curation>/<incarnation>/<feedback>`, that of counts
    `<project>/<curation>/<incarnation>`: so a late deletion of one does not affect the next.
    """

    def __init__(self, rows: Collection, counts: Collection) -> None:
        self._rows = rows
        self._counts = counts

    async def ensure_indexes(self) -> None:
        """Create the indexes of the worker's queries and of erasures; idempotent."""
        with translated():
            await self._rows.create_index([("curation", 1), ("completion", 1)])
            await self._rows.create_index([("feedback", 1)])
            await self._rows.create_index([("curation", 1), ("open", 1)], partialFilterExpression=_OPEN)
            place = [("observe_time", 1), ("feedback", 1)]
            for listed in ([("refused", 1)], [("refused", 1), ("refusal", 1)]):
                await self._rows.create_index([("curation", 1), *listed, *place], partialFilterExpression=_REFUSED)
            await self._counts.create_index([("dirty", 1)], partialFilterExpression=_DIRTY)
            await self._counts.create_index([("due", 1)], partialFilterExpression=_DUE)
            await self._counts.create_index([("batch.completion", 1)], partialFilterExpression=_BEGUN)

    async def upsert_correction(self, ref: CurationRef, candidate: CandidateExample) -> bool:
        """See `Ledger.upsert_correction`."""
        news = asdict(candidate) | {"attempts": 0, "failure": "", **_NOT_REFUSED, **_OPEN}
        first: Document = {
            "curation": _key(ref),
            "first_time": candidate.observe_time,
            "resolved_seq": 0,
            "chars": 0,
            "completion": 0,
        }
        older = {"_id": _row_id(ref, candidate.feedback), "seq": {"$lt": candidate.seq}}
        kept = await update_or_insert(self._rows, older, {"$set": news, "$setOnInsert": first})
        # Also if it was stored already: that process may have crashed before this.
        await self._changed(_key(ref))
        return kept

    async def rows(self, ref: CurationRef) -> Sequence[Row]:
        """See `Ledger.rows`."""
        with translated():
            found = await self._rows.find({"curation": _key(ref)}).to_list(None)
        return await asyncio.to_thread(lambda: [_row(document) for document in found])

    async def pending(self, ref: CurationRef, *, limit: int) -> Sequence[Row]:
        """See `Ledger.pending`."""
        with translated():
            found = await self._rows.find({"curation": _key(ref), **_OPEN}).limit(limit).to_list(limit)
        return [_row(document) for document in found]

    async def resolve(
        self, ref: CurationRef, row: Row, *, epoch: int, chars: int, measures: Measures | None = None
    ) -> bool:
        """See `Ledger.resolve`."""
        done = {"resolved_seq": row.candidate.seq, "chars": chars, "failure": "", "attempts": 0, "open": False}
        return await self._write(ref, row, epoch, done | {"measures": asdict(measures) if measures else None})

    async def fail(self, ref: CurationRef, row: Row, *, epoch: int, message: str, final: bool) -> bool:
        """See `Ledger.fail`."""
        failed = {"attempts": row.attempts + 1, "failure": message if final else "", "open": not final}
        return await self._write(ref, row, epoch, failed)

    async def reopen(self, ref: CurationRef, row: Row, *, epoch: int) -> bool:
        """See `Ledger.reopen`."""
        return await self._write(ref, row, epoch, {"resolved_seq": 0, **_OPEN})

    async def tag(self, ref: CurationRef, feedback: Sequence[str], *, completion: int, epoch: int) -> bool:
        """See `Ledger.tag`."""
        ids = [_row_id(ref, each) for each in feedback]
        stale = {"curation": _key(ref), "completion": completion, "_id": {"$nin": ids}}
        untagged = {"_id": {"$in": ids}, "completion": 0}
        with translated():
            await self._rows.update_many({**stale, **_not_later(epoch)}, {"$set": {"completion": 0, "epoch": epoch}})
            await self._rows.update_many(
                {**untagged, **_not_later(epoch)}, {"$set": {"completion": completion, "epoch": epoch}}
            )
            for left in (stale, untagged):
                if await self._rows.find_one(left, {"_id": True}):
                    raise EpochOver(ref.curation)
            return await self._rows.count_documents({"_id": {"$in": ids}, "failure": {"$ne": WITHDRAWN}}) == len(ids)

    async def exclude(self, feedback: str, *, seq: int) -> None:
        """See `Ledger.exclude`."""
        theirs = {"feedback": feedback, "seq": {"$lte": seq}}
        with translated():
            curations = await self._rows.distinct("curation", theirs)
            kept = {"seq": seq, "failure": WITHDRAWN, "open": False, "measures": None, **_NOT_REFUSED}
            await self._rows.update_many(theirs, {"$set": kept})
        for key in curations:
            await self._changed(key)

    async def forget(self, feedback: Mapping[str, int]) -> None:
        """See `Ledger.forget`."""
        if not feedback:
            return
        not_later = [{"feedback": name, "seq": {"$lte": seq}} for name, seq in feedback.items()]
        theirs = {"feedback": {"$in": list(feedback)}, "$or": not_later}
        with translated():
            curations = await self._rows.distinct("curation", theirs)
            await self._rows.delete_many(theirs)
        for key in curations:
            await self._changed(key)

    async def drop(self, ref: CurationRef) -> None:
        """See `Ledger.drop`."""
        with translated():
            await self._rows.delete_many({"curation": _key(ref)})
            await self._counts.delete_one({"_id": _key(ref)})

    async def kept(self) -> Sequence[CurationRef]:
        """See `Ledger.kept`."""
        with translated():
            keys = {*await self._rows.distinct("curation"), *await self._counts.distinct("_id")}
        return [_ref(key) for key in sorted(keys)]

    async def record_counts(self, ref: CurationRef, tally: Tally, *, epoch: int) -> None:
        """See `Ledger.record_counts`."""
        recorded = asdict(tally.counts) | {"seen": tally.seen, "rows": tally.rows, "version": tally.version}
        if await self._record(ref, recorded, epoch):
            with translated():
                await self._counts.update_one({"_id": _key(ref), "changes": tally.seen}, {"$unset": _DIRTY})

    async def record_refusals(self, ref: CurationRef, refusals: Mapping[str, str], *, epoch: int) -> None:
        """See `Ledger.record_refusals`."""
        by_reason: defaultdict[str, list[str]] = defaultdict(list)
        for feedback, reason in refusals.items():
            by_reason[reason].append(_row_id(ref, feedback))
        for reason, ids in by_reason.items():
            recorded = {"refusal": reason, **_REFUSED} if reason else _NOT_REFUSED
            for begin in range(0, len(ids), _IDS_AT_A_TIME):
                chosen = {"_id": {"$in": ids[begin : begin + _IDS_AT_A_TIME]}, "open": {"$ne": True}}
                with translated():
                    await self._rows.update_many(
                        {**chosen, **_not_later(epoch)}, {"$set": {**recorded, "epoch": epoch}}
                    )

    async def refused(self, ref: CurationRef, page: PageRequest) -> Page[Row]:
        """See `Ledger.refused`."""
        size, step, onward = checked_size(page), *((-1, "$lt") if page.newest_first else (1, "$gt"))
        digest = list_digest(_key(ref), page.where, show_deleted=False, newest_first=page.newest_first)
        query: Document = {"curation": _key(ref), **_REFUSED, **page.where}
        if place := place_of(page.token, digest=digest):
            same_time = {"observe_time": place.create_time, "feedback": {onward: place.id}}
            query["observe_time"] = {f"{onward}e": place.create_time}  # where an index is begun at; $or does not say
            query["$or"] = [{"observe_time": {onward: place.create_time}}, same_time]
        with translated():
            found = self._rows.find(query).sort([("observe_time", step), ("feedback", step)])
            shown, more = await read_page(found, size)
        rows = [_row(document) for document in shown]
        return Page(items=rows, next_token=token_after(_place(rows[-1]), digest=digest) if more else "")

    async def record_listed(self, ref: CurationRef, *, deployments: int, token: str, epoch: int) -> None:
        """See `Ledger.record_listed`."""
        await self._record(ref, {"deployments": deployments, "listed": token}, epoch)

    async def record_batch(self, ref: CurationRef, batch: Begun | None, *, epoch: int) -> None:
        """See `Ledger.record_batch`."""
        if not await self._record(ref, {"batch": asdict(batch) if batch else None}, epoch):
            raise EpochOver(ref.curation)

    async def tally(self, ref: CurationRef) -> Tally:
        """See `Ledger.tally`."""
        with translated():
            found: Document = await self._counts.find_one({"_id": _key(ref)}) or {}
        known = {each.name: found[each.name] for each in fields(Tally) if each.name in found}
        if begun := known.get("batch"):
            known["batch"] = Begun(object=ObjectRef(**begun["object"]), completion=begun["completion"])
        return Tally(counts=_counts(found), **known)

    async def counts(self, refs: Sequence[CurationRef]) -> Mapping[CurationRef, Counts]:
        """See `Ledger.counts`."""
        with translated():
            found = await self._counts.find({"_id": {"$in": [_key(ref) for ref in refs]}}).to_list(None)
        return {_ref(document["_id"]): _counts(document) for document in found}

    async def record_due(self, ref: CurationRef, due: datetime | None, *, epoch: int) -> None:
        """See `Ledger.record_due`."""
        await self._record(ref, {"due": due}, epoch)

    async def pending_curations(self, now: datetime) -> Sequence[CurationRef]:
        """See `Ledger.pending_curations`."""
        found: dict[str, None] = {}
        for chosen in (_DIRTY, {"due": {**_DUE["due"], "$lte": now}}, _BEGUN):
            with translated():
                some = await self._counts.find(chosen, {"_id": True}).to_list(None)
            found |= dict.fromkeys(document["_id"] for document in some)
        return [_ref(key) for key in found]

    async def _changed(self, key: str) -> None:
        with translated():
            await self._counts.update_one({"_id": key}, {"$inc": {"changes": 1}, "$set": _DIRTY}, upsert=True)

    async def _record(self, ref: CurationRef, recorded: Document, epoch: int) -> bool:
        """Store values of an incarnation, unless a later holder of the lease has written it."""
        mine = {"_id": _key(ref), **_not_later(epoch)}
        return await update_or_insert(self._counts, mine, {"$set": {**recorded, "epoch": epoch}})

    async def _write(self, ref: CurationRef, row: Row, epoch: int, changes: Document) -> bool:
        still = {"_id": _row_id(ref, row.candidate.feedback), "seq": row.candidate.seq, **_not_later(epoch)}
        with translated():
            result = await self._rows.update_one(still, {"$set": {**changes, "epoch": epoch}})
        return result.matched_count == 1


def _key(ref: CurationRef) -> str:
    return f"{ref.key}/{ref.incarnation}"


def _ref(key: str) -> CurationRef:
    project, curation, incarnation = key.split("/")
    return CurationRef(project, curation, int(incarnation))


def _row_id(ref: CurationRef, feedback: str) -> str:
    return f"{_key(ref)}/{feedback}"


def _not_later(epoch: int) -> dict[str, Any]:
    """Match documents that no later holder of the lease has written, including those without an epoch."""
    return {"epoch": {"$not": {"$gt": epoch}}}


def _row(document: Document) -> Row:
    names = ("feedback", "seq", "inference", "deployment", "end_user", "observe_time")
    rest = ("first_time", "resolved_seq", "chars", "attempts", "failure", "completion")
    defaults = {"rater": "user", "metric": CORRECTION, "other": ""}
    later = {name: document.get(name, default) for name, default in defaults.items()}
    given = {name: document[name] for name in names} | later
    measures = document.get("measures")
    return Row(
        candidate=CandidateExample(**given),
        measures=Measures(**measures) if measures else None,
        refusal=document.get("refusal", ""),
        **{name: document[name] for name in rest},
    )


def _place(row: Row) -> Place:
    return Place(row.candidate.observe_time, row.candidate.feedback)


def _counts(document: Document) -> Counts:
    return Counts(**{each.name: document[each.name] for each in fields(Counts) if each.name in document})
