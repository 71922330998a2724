"""Chains in MongoDB: one document for each record, whose `_id` is its number in its chain.

`{_id: "<chain>/<number>", chain, seq, event, hash, previous, text, subject, method, resource, time}`. Of two who append
at the same moment one finds the number taken, so that a chain cannot fork. `{_id: "<chain>", seq, hash, anchored}` in
the collection of heads says where the chain ends: it is moved on after the record, by compare-and-set; one that a crash
left behind is caught up with by the next record.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from itertools import combinations

from cachetools import TTLCache

from tidemill_core.application import Page, PageRequest
from tidemill_core.audit import GENESIS, Head, Record, canonical, hash_of
from tidemill_core.errors import DependencyUnavailable
from tidemill_core.paging import Place, checked_size, list_digest, number_of, place_of, token_after
from tidemill_kit.store.mongo import Collection, Document, DuplicateId, read_page, translated
from tidemill_monitor.audit.domain import ChainedRecord, ChainEnd, RecordFilter

_TRIES = 20
_BATCH = 1000
_REMEMBERED, _REMEMBERED_S = 1000, 60.0
"""Chains whose ends are in memory, and for how long: much shorter than records are kept, whose numbers stay taken."""
_FILTERS = ("subject", "method", "resource")
_BEGINNING = Head(seq=0, hash=GENESIS)


class MongoChains:
    """Implements `ports.Chains`."""

    def __init__(self, records: Collection, heads: Collection) -> None:
        self._records = records
        self._heads = heads
        self._ends: TTLCache[str, Head] = TTLCache(_REMEMBERED, _REMEMBERED_S)
        """Where this process ended a chain last. Of one that another process appended to since, the number is taken."""

    async def ensure_indexes(self) -> None:
        """Create what appending and reading need."""
        with translated():
            await self._records.create_index([("chain", 1), ("event", 1)], unique=True)
            await self._records.create_index([("chain", 1), ("seq", 1)], unique=True)
            for size in range(len(_FILTERS) + 1):
                for fields in combinations(_FILTERS, size):
                    names = ["chain", *fields, "time", "seq"]
                    await self._records.create_index([(each, 1) for each in names])

    async def append(self, chain: str, event: str, record: Record) -> bool:
        """See `Chains.append`."""
        for _ in range(_TRIES):
            head = self._ends.pop(chain, None) or await self.head(chain)
            seq = head.seq + 1
            text = canonical({**record, "seq": seq})
            own = Head(seq=seq, hash=hash_of(head.hash, text))
            document = {
                "_id": f"{chain}/{seq:016}",
                "chain": chain,
                "seq": seq,
                "event": event,
                "hash": own.hash,
                "previous": head.hash,
                "text": text,
                "time": datetime.fromisoformat(str(record["begin_time"])),
                **{each: record[each] for each in _FILTERS},
            }
            try:
                with translated():
                    await self._records.insert_one(document)
            except DuplicateId:
                await self._catch_up(chain)
                with translated():
                    there = await self._records.find_one({"chain": chain, "event": event}, {"_id": True})
                if there is not None:
                    return False
                continue
            await self._advance(chain, head, own)
            self._ends[chain] = own
            return True
        message = f"others append to the chain {chain} all the time"
        raise DependencyUnavailable(message, dependency="mongodb")

    async def head(self, chain: str) -> Head:
        """See `Chains.head`."""
        with translated():
            document = await self._heads.find_one({"_id": chain})
        return Head(seq=document["seq"], hash=document["hash"]) if document else _BEGINNING

    async def first(self, chain: str) -> int:
        """See `Chains.first`."""
        with translated():
            document = await self._records.find_one({"chain": chain}, {"seq": True}, sort=[("seq", 1)])
        return document["seq"] if document else 0

    async def page(self, chain: str, chosen: RecordFilter, page: PageRequest) -> Page[ChainedRecord]:
        """See `Chains.page`."""
        where = {each: getattr(chosen, each) for each in _FILTERS if getattr(chosen, each)}
        times = {"$gte": chosen.start_time, "$lt": chosen.end_time}
        ranged = {name: time for name, time in times.items() if time is not None}
        named = where | {name: time.isoformat() for name, time in ranged.items()}
        size, digest = checked_size(page), list_digest(chain, named, show_deleted=False)
        query: Document = {"chain": chain, **where}
        if ranged:
            query["time"] = ranged
        if place := place_of(page.token, digest=digest):
            seq = number_of(place.id)
            query["time"] = ranged | {"$lte": place.create_time}  # where the index is begun at; $or does not say
            query["$or"] = [{"time": {"$lt": place.create_time}}, {"time": place.create_time, "seq": {"$lt": seq}}]
        found = self._records.find(query).sort([("time", -1), ("seq", -1)])
        shown, more = await read_page(found, size)
        token = token_after(Place(shown[-1]["time"], str(shown[-1]["seq"])), digest=digest) if more else ""
        return Page(items=[_record(each) for each in shown], next_token=token)

    async def follow(self, chain: str, *, until: int) -> AsyncIterator[Sequence[ChainedRecord]]:
        """See `Chains.follow`."""
        last = 0
        while last < until:
            query = {"chain": chain, "seq": {"$gt": last, "$lte": until}}
            with translated():
                batch = await self._records.find(query).sort("seq", 1).limit(_BATCH).to_list(None)
            if not batch:
                return
            yield [_record(each) for each in batch]
            last = batch[-1]["seq"]

    async def ends(self) -> AsyncIterator[ChainEnd]:
        """See `Chains.ends`."""
        with translated():
            async for each in self._heads.find({"_id": {"$gt": ""}}).sort("_id", 1):
                head = Head(seq=each["seq"], hash=each["hash"])
                yield ChainEnd(chain=each["_id"], head=head, anchored=each["anchored"])

    async def anchored(self, chain: str, head: Head) -> None:
        """See `Chains.anchored`."""
        with translated():
            await self._heads.update_one({"_id": chain}, {"$max": {"anchored": head.seq}})

    async def delete(self, chain: str, *, until: Head) -> int:
        """See `Chains.delete`."""
        with translated():
            there = await self._records.find_one({"_id": f"{chain}/{until.seq:016}", "hash": until.hash}, {"_id": True})
        if there is None:  # deleted already, or of a chain that is not this one: the bucket outlives the database
            return 0
        deleted = 0
        for seq in range(await self.first(chain), until.seq + 1, _BATCH):
            numbers = {"$gte": seq, "$lte": min(seq + _BATCH - 1, until.seq)}
            with translated():
                deleted += (await self._records.delete_many({"chain": chain, "seq": numbers})).deleted_count
        return deleted

    async def _advance(self, chain: str, head: Head, own: Head) -> None:
        update = {"$set": {"seq": own.seq, "hash": own.hash}, "$setOnInsert": {"anchored": 0}}
        try:
            with translated():
                await self._heads.update_one({"_id": chain, "seq": head.seq}, update, upsert=head.seq == 0)
        except DuplicateId:
            return  # it was moved on already

    async def _catch_up(self, chain: str) -> None:
        head = await self.head(chain)
        with translated():
            while after := await self._records.find_one({"chain": chain, "seq": head.seq + 1}, {"seq": 1, "hash": 1}):
                own = Head(seq=after["seq"], hash=after["hash"])
                await self._advance(chain, head, own)
                head = own


def _record(document: Document) -> ChainedRecord:
    return ChainedRecord(
        seq=document["seq"], hash=document["hash"], previous=document["previous"], text=document["text"]
    )
