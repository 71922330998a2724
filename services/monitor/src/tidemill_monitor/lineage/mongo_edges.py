"""Edges in MongoDB, at a cost that does not grow: everything is found by `_id`, and no document grows without bound.

The neighbours of a thing by one relation stand in lists, `<project>/<kind>/<id>/<direction><relation>/<slot>/<level>`:
`{refs: [id], n, full, placed}`. A thing that is the source of very much (a prompt version that answered 100,000 times)
spreads them over slots by a hash of the id; a list that is full is followed by one of the next level, and then the slot
has a head, `<slot>/head`: `{level, before, unplaced}`, which has the count before the open list.

Where an edge stands is a document of its own in another collection, `<slot>/<other>`: `{level}`. It makes adding an
edge again, and taking one out, cost what it costs to add the first. The first list of a thing that is no hub needs
none, as it is looked through by itself; `unplaced` says how many lists of a slot are older than such documents.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cachetools import LRUCache

from tidemill_kit.store.batching import each_of
from tidemill_kit.store.mongo import Collection as MongoCollection
from tidemill_kit.store.mongo import Document, DuplicateId, insert_new, translated, update_fitting
from tidemill_monitor.lineage.mongo_ends import End

_QUERY_BATCH = 1000
_REMEMBERED = 10_000
_TOGETHER = 2
"""Lists from which on it is worth beginning them by one call: a single one is begun, or added to, by one as well."""
_WHOLE = 1000
"""Neighbours to a list where all of them are written together."""


@dataclass(frozen=True, slots=True)
class _Head:
    """Where a slot goes on, how many ids stand in the lists before, and how many lists have no places."""

    level: int = 0
    before: int = 0
    unplaced: int = 0


@dataclass(frozen=True, slots=True)
class _New:
    """A neighbour on its way to the open list of its slot."""

    slot: str
    other: str
    head: _Head


@dataclass(slots=True)
class _Reading:
    """What was found of one end so far."""

    left: dict[str, int] = field(default_factory=dict)
    """By slot: the level of the next list to be read, downwards."""
    count: int = 0
    refs: set[str] = field(default_factory=set)


class MongoEdges:
    """Lists of neighbours, `list_length` to a document; a longer or shorter one may follow after a restart."""

    def __init__(self, lists: MongoCollection, places: MongoCollection, *, list_length: int) -> None:
        self._lists = lists
        self._places = places
        self._list_length = list_length
        self._heads: LRUCache[str, _Head] = LRUCache(_REMEMBERED)
        """By slot, of slots with more than one list."""

    async def add(self, end: End, other: str) -> None:
        """Add a neighbour, unless it is there."""
        slot = end.slot_of(other)
        head = self._heads.get(slot, _Head())
        if not end.hub and not head.level:
            if await self._pushed(slot, 0, other, placed=False):
                return
            head = await self._following(slot, 0)
        level, fresh = await self._placed(slot, other, head.level)
        await self._put(slot, other, level, head=head, fresh=fresh)

    async def add_all(self, added: Iterable[tuple[End, str]]) -> None:
        """Add neighbours as `add` does, in few calls those of hubs, of which many come at once, and first ones."""
        new, alone = dict[str, _New](), dict[str, tuple[End, str]]()
        for end, other in added:
            slot = end.slot_of(other)
            head, place = self._heads.get(slot, _Head()), f"{slot}/{other}"
            if end.hub and not head.unplaced:
                new[place] = _New(slot, other, head)
            alone[place] = end, other
        if len(new) > 1:
            places: list[Document] = [{"_id": key, "level": each.head.level} for key, each in new.items()]
            taken = await insert_new(self._places, places)
            fresh = [each for key, each in new.items() if key not in taken]
            for each in await self._not_pushed(fresh):
                await self._put(each.slot, each.other, each.head.level, head=each.head, fresh=True)
            missing = taken - await self._held({key: new[key] for key in taken})
            alone = {key: each for key, each in alone.items() if key not in new or key in missing}
        begun = await self._begun_lists(alone)
        alone = {key: each for key, each in alone.items() if key not in begun}
        of_slot: dict[str, list[tuple[End, str]]] = {}
        for end, other in alone.values():
            of_slot.setdefault(end.slot_of(other), []).append((end, other))

        async def add(edges: Sequence[tuple[End, str]]) -> None:
            for end, other in edges:
                await self.add(end, other)

        await each_of(add, list(of_slot.values()))

    async def _begun_lists(self, added: Mapping[str, tuple[End, str]]) -> set[str]:
        """Begin the lists of things that have had no neighbour, one of each; return which of these are added so."""
        first: dict[str, tuple[str, str]] = {}
        for place, (end, other) in added.items():
            slot = end.slot_of(other)
            if not end.hub and slot not in self._heads:
                first.setdefault(f"{slot}/0", (place, other))
        if len(first) < _TOGETHER or self._list_length < _TOGETHER:
            return set()
        lists: list[Document] = [
            {"_id": key, "refs": [other], "n": 1, "placed": False} for key, (_, other) in first.items()
        ]
        taken = await insert_new(self._lists, lists)
        return {place for key, (place, _) in first.items() if key not in taken}

    async def _held(self, placed: Mapping[str, _New]) -> set[str]:
        """Return those of the places whose lists have the neighbour: all of an event that comes again."""
        levels: dict[str, int] = {}
        for part in _parts(list(placed)):
            with translated():
                stored = await self._places.find({"_id": {"$in": part}}).to_list(len(part))
            levels |= {each["_id"]: each["level"] for each in stored}
        of_list: dict[str, dict[str, str]] = {}
        for key, level in levels.items():
            of_list.setdefault(f"{placed[key].slot}/{level}", {})[placed[key].other] = key
        held: set[str] = set()
        for found in await self._found(of_list, {"refs": True}):
            asked = of_list[found["_id"]]
            held |= {asked[other] for other in found.get("refs", ()) if other in asked}
        return held

    async def _not_pushed(self, new: Sequence[_New]) -> list[_New]:
        """Add to the lists where there is space; return what has to be added one by one."""
        if not new:
            return []
        lists: dict[str, list[_New]] = {}
        for each in new:
            lists.setdefault(f"{each.slot}/{each.head.level}", []).append(each)
        keys = list(lists)
        updates = [_pushing(key, [each.other for each in lists[key][: self._list_length]]) for key in keys]
        refused = await update_fitting(self._lists, updates)
        left = [each for key in keys for each in lists[key][self._list_length :]]
        left += [each for index in refused for each in lists[keys[index]][: self._list_length]]
        longer = [key for index, key in enumerate(keys) if index not in refused]
        for found in await self._found(longer, {"refs": False}):
            if found["n"] >= self._list_length and not found.get("full"):
                slot, _, level = found["_id"].rpartition("/")
                await self._close(slot, int(level))
        return left

    async def _put(self, slot: str, other: str, level: int, *, head: _Head, fresh: bool) -> None:
        """Add what stands in a place to its list, or to a later one where that is full."""
        while True:
            if fresh and 0 < head.unplaced <= level:
                held = await self._holder(slot, head.unplaced, other)
                if held is not None:
                    await self._move(slot, other, held)
                    return
                fresh = False
            if await self._pushed(slot, level, other, placed=True):
                return
            head = await self._following(slot, level)
            level = head.level
            await self._move(slot, other, level)

    async def replace(self, end: End, others: Sequence[str]) -> None:
        """Write all neighbours anew: for what is known as a whole, and always the same."""
        slot = end.slot(0)
        lists = [others[start : start + _WHOLE] for start in range(0, len(others), _WHOLE)] or [[]]
        for level, refs in enumerate(lists):
            fields: Document = {"refs": list(refs), "n": len(refs), "full": level + 1 < len(lists)}
            with translated():
                await self._lists.update_one({"_id": f"{slot}/{level}"}, {"$set": fields}, upsert=True)
        last = len(lists) - 1
        head: Document = {"level": last, "before": last * _WHOLE, "unplaced": last + 1}
        with translated():
            await self._lists.update_one({"_id": f"{slot}/head"}, {"$set": head}, upsert=True)

    async def hold(self, ends: Sequence[End], other: str) -> set[End]:
        """Return those of the ends, which are no hubs, that have the neighbour in their first list."""
        of = {f"{end.slot(0)}/0": end for end in ends}
        found: set[End] = set()
        for part in _parts(list(of)):
            with translated():
                cursor = self._lists.find({"_id": {"$in": part}, "refs": other}, {"_id": True})
                found |= {of[each["_id"]] for each in await cursor.to_list(len(part))}
        return found

    async def remove(self, end: End, other: str) -> None:
        """Take a neighbour out, if it is there; where it stands is forgotten last, so that it can be done again."""
        slot = end.slot_of(other)
        with translated():
            place = await self._places.find_one({"_id": f"{slot}/{other}"})
        if place is None:
            head = await self._head(slot) or _Head(unplaced=1)
            level = await self._holder(slot, head.unplaced, other)
            if level is None:
                return
        else:
            level = place["level"]
        key = f"{slot}/{level}"
        with translated():
            taken: Any = await self._lists.find_one_and_update(
                {"_id": key, "refs": other}, {"$pull": {"refs": other}, "$inc": {"n": -1}}, projection={"full": True}
            )
            if taken and taken.get("full"):
                await self._lists.update_one({"_id": f"{slot}/head"}, {"$inc": {"before": -1}})
                if level:  # the first one says, also when it is empty, that a slot has had neighbours
                    await self._lists.delete_one({"_id": key, "n": 0, "full": True})
            await self._places.delete_one({"_id": f"{slot}/{other}"})

    async def read(self, ends: Collection[End], *, limit: int) -> Mapping[End, tuple[tuple[str, ...], int]]:
        """Return for each end that has any: at most `limit` neighbours in order of their ids, and their number."""
        readings = await self._counted({end.slot(number): end for end in ends for number in range(end.slots)})
        while True:
            query: dict[str, _Reading] = {}
            for reading in readings.values():
                query |= dict.fromkeys(_next_lists(reading, limit, self._list_length), reading)
            if not query:
                break
            for found in await self._found(query, {"refs": True}):
                query[found["_id"]].refs.update(found["refs"])
        return {
            end: (tuple(sorted(reading.refs)[:limit]), reading.count)
            for end, reading in readings.items()
            if reading.refs
        }

    async def _counted(self, slots: Mapping[str, End]) -> dict[End, _Reading]:
        """Return how many neighbours there are, from heads and open lists, and where reading begins."""
        names = [f"{slot}/{name}" for slot in slots for name in ("head", "0")]
        found = {each["_id"]: each for each in await self._found(names, {"refs": False})}
        heads: dict[str, _Head] = {}
        for slot in slots:
            first = found.get(f"{slot}/0")
            if stored := found.get(f"{slot}/head"):
                heads[slot] = _head_of(stored)
            elif first:
                heads[slot] = await self._following(slot, 0) if first.get("full") else _Head()
        opened = [f"{slot}/{head.level}" for slot, head in heads.items() if head.level]
        found |= {each["_id"]: each for each in await self._found(opened, {"n": True})}
        readings: dict[End, _Reading] = {}
        for slot, head in heads.items():
            reading = readings.setdefault(slots[slot], _Reading())
            reading.left[slot] = head.level
            reading.count += head.before + found.get(f"{slot}/{head.level}", {"n": 0})["n"]
        return readings

    async def _found(self, keys: Collection[str], fields: Document) -> list[Document]:
        found: list[Document] = []
        for part in _parts(list(keys)):
            with translated():
                found += await self._lists.find({"_id": {"$in": part}}, fields).to_list(len(part))
        return found

    async def _placed(self, slot: str, other: str, level: int) -> tuple[int, bool]:
        """Say where an edge will stand; return where it does, and whether that is news."""
        key = f"{slot}/{other}"
        try:
            with translated():
                await self._places.insert_one({"_id": key, "level": level})
        except DuplicateId:
            with translated():
                found = await self._places.find_one({"_id": key})
            return (found["level"] if found else level), False
        return level, True

    async def _move(self, slot: str, other: str, level: int) -> None:
        with translated():
            await self._places.update_one({"_id": f"{slot}/{other}"}, {"$set": {"level": level}})

    async def _pushed(self, slot: str, level: int, other: str, *, placed: bool) -> bool:
        """Add to one list; return False if it is full and does not hold the id."""
        key = f"{slot}/{level}"
        while True:
            try:
                with translated():
                    saved = await self._lists.find_one_and_update(
                        {"_id": key, "refs": {"$ne": other}, "full": {"$ne": True}},
                        {"$push": {"refs": other}, "$inc": {"n": 1}, "$setOnInsert": {"placed": placed}},
                        projection={"n": True},
                        upsert=True,
                        return_document=True,
                    )
            except DuplicateId:
                with translated():
                    if await self._lists.find_one({"_id": key, "refs": other}, {"_id": True}):
                        return True
                    stored = await self._lists.find_one({"_id": key}, {"full": True})
                if stored and stored.get("full"):
                    return False
                continue  # created concurrently
            if saved["n"] >= self._list_length:
                await self._close(slot, level)
            return True

    async def _close(self, slot: str, level: int) -> None:
        """Have a list that is long enough followed by another one."""
        with translated():
            await self._lists.update_one({"_id": f"{slot}/{level}"}, {"$set": {"full": True}})
        await self._following(slot, level)

    async def _following(self, slot: str, level: int) -> _Head:
        """Return the next list of a slot after a full one; the first writer decides."""
        head = await self._head(slot) or await self._begun(slot)
        if head.level == level:
            with translated():
                closed = await self._lists.find_one({"_id": f"{slot}/{level}"}, {"n": True})
                await self._lists.update_one(
                    {"_id": f"{slot}/head", "level": level},
                    {"$inc": {"level": 1, "before": closed["n"] if closed else 0}},
                )
            head = await self._head(slot) or head
        self._heads[slot] = head
        return head

    async def _begun(self, slot: str) -> _Head:
        """Give a slot its head: of one with many lists these are all gone through, which happens once."""
        level = before = unplaced = 0
        while True:
            with translated():
                found = await self._lists.find_one({"_id": f"{slot}/{level}"}, {"refs": False})
            if not found or not found.get("full"):
                break
            level, before = level + 1, before + found["n"]
            unplaced = unplaced if found.get("placed") else level
        head: Document = {"_id": f"{slot}/head", "level": level, "before": before, "unplaced": unplaced}
        try:
            with translated():
                await self._lists.insert_one(head)
        except DuplicateId:
            return await self._head(slot) or _head_of(head)
        return _head_of(head)

    async def _head(self, slot: str) -> _Head | None:
        with translated():
            found = await self._lists.find_one({"_id": f"{slot}/head"})
        return _head_of(found) if found else None

    async def _holder(self, slot: str, levels: int, other: str) -> int | None:
        """Return which of a slot's first lists has the id."""
        keys = [f"{slot}/{level}" for level in range(levels)]
        with translated():
            found = await self._lists.find_one({"_id": {"$in": keys}, "refs": other}, {"_id": True})
        return int(found["_id"].rpartition("/")[2]) if found else None


def _pushing(key: str, others: Sequence[str]) -> tuple[Document, Document]:
    """Return what finds a list that has space and none of the ids, and what adds them."""
    found: Document = {"_id": key, "refs": {"$nin": list(others)}, "full": {"$ne": True}}
    added: Document = {"$push": {"refs": {"$each": list(others)}}, "$inc": {"n": len(others)}}
    return found, added | {"$setOnInsert": {"placed": True}}


def _head_of(document: Mapping[str, Any]) -> _Head:
    return _Head(document["level"], document["before"], document["unplaced"])


def _next_lists(reading: _Reading, limit: int, length: int) -> list[str]:
    """Return the lists to be read next so that `limit` ids are found, the latest first; none where there are enough."""
    missing, chosen = limit - len(reading.refs), list[str]()
    slots = [slot for slot, level in reading.left.items() if level >= 0]
    if missing <= 0 or not slots:
        return []
    for _ in range(1 + missing // (length * len(slots))):
        for slot in slots:
            if reading.left[slot] >= 0:
                chosen.append(f"{slot}/{reading.left[slot]}")
                reading.left[slot] -= 1
    return chosen


def _parts(keys: Sequence[str]) -> list[Sequence[str]]:
    return [keys[start : start + _QUERY_BATCH] for start in range(0, len(keys), _QUERY_BATCH)]
