"""Edges in MongoDB: short lists of ids in documents that are found by `_id` alone.

A list is `<project>/<kind>/<id>/<direction><relation>/<slot>/<level>`: `{refs: [id], n, full}`. A thing that is the
source of very much (a prompt version that answered 100,000 times) spreads it over slots by a hash of the id; a list
that is full is followed by one of the next level. So no document grows without bound, an id is added once however often
that is tried, and what there is can be counted without reading it.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tidemill_kit.mongo import Collection as MongoCollection
from tidemill_kit.mongo import Document, DuplicateId, translated
from tidemill_monitor.domain.graph import Ref
from tidemill_monitor.domain.kinds import Direction, Relation

_SLOTS_OF_HUB = 16
_ASKED_AT_ONCE = 1000
_REMEMBERED = 10_000
_MARK = {Direction.FORWARD: ">", Direction.BACK: "<"}


@dataclass(frozen=True, slots=True)
class End:
    """One end of edges: a thing, and one relation in one direction."""

    project: str
    ref: Ref
    relation: Relation
    direction: Direction

    @property
    def slots(self) -> int:
        """Over how many slots its edges are spread; never changed, or edges would be written twice."""
        return _SLOTS_OF_HUB if self.relation.hub and self.direction is Direction.FORWARD else 1

    def slot_of(self, other: str) -> str:
        """Return the slot of a neighbour."""
        number = hashlib.sha256(other.encode()).digest()[0] % self.slots
        return self.slot(number)

    def slot(self, number: int) -> str:
        """Return what the `_id` of the slot's lists begins with."""
        name = f"{_MARK[self.direction]}{self.relation.name}"
        return f"{self.project}/{self.ref.kind}/{self.ref.id}/{name}/{number}"


class MongoEdges:
    """Lists of neighbours, `list_length` to a document; a longer or shorter one may follow after a restart."""

    def __init__(self, lists: MongoCollection, *, list_length: int) -> None:
        self._lists = lists
        self._list_length = list_length
        self._open: OrderedDict[str, int] = OrderedDict()
        """By slot: the level that is not full, of slots with more than one."""

    async def add(self, end: End, other: str) -> None:
        """Add a neighbour, unless it is there."""
        slot = end.slot_of(other)
        level = self._open.get(slot, 0)
        if level and await self._holds(slot, level, other):
            return
        while not await self._pushed(f"{slot}/{level}", other):
            level += 1
            self._remember(slot, level)

    async def replace(self, end: End, others: Sequence[str]) -> None:
        """Write all neighbours anew: for what is known as a whole, and always the same."""
        slot, length = end.slot(0), self._list_length
        lists = [others[start : start + length] for start in range(0, len(others), length)] or [[]]
        for level, refs in enumerate(lists):
            fields: Document = {"refs": list(refs), "n": len(refs), "full": level + 1 < len(lists)}
            with translated():
                await self._lists.update_one({"_id": f"{slot}/{level}"}, {"$set": fields}, upsert=True)

    async def remove(self, end: End, other: str) -> None:
        """Take a neighbour out, if it is there."""
        slot, level = end.slot_of(other), 0
        while True:
            key = f"{slot}/{level}"
            with translated():
                taken = await self._lists.update_one(
                    {"_id": key, "refs": other}, {"$pull": {"refs": other}, "$inc": {"n": -1}}
                )
                if taken.matched_count:
                    return
                found = await self._lists.find_one({"_id": key}, {"full": True})
            if not found or not found.get("full"):
                return
            level += 1

    async def read(self, ends: Collection[End], *, limit: int) -> Mapping[End, tuple[tuple[str, ...], int]]:
        """Return for each end that has any: at most `limit` neighbours in order of their ids, and their number."""
        owners = {f"{end.slot(number)}/0": end for end in ends for number in range(end.slots)}
        counted: dict[End, dict[str, int]] = {}
        while owners:
            following: dict[str, End] = {}
            for found in await self._found(owners, {"n": True, "full": True}):
                key, end = found["_id"], owners[found["_id"]]
                counted.setdefault(end, {})[key] = found["n"]
                if found.get("full"):
                    slot, _, level = key.rpartition("/")
                    following[f"{slot}/{int(level) + 1}"] = end
            owners = following
        wanted = {key: end for end, lists in counted.items() for key in _enough(lists, limit)}
        refs: dict[End, set[str]] = {}
        for found in await self._found(wanted, {"refs": True}):
            refs.setdefault(wanted[found["_id"]], set()).update(found["refs"])
        return {
            end: (tuple(sorted(refs[end])[:limit]), sum(lists.values()))
            for end, lists in counted.items()
            if refs.get(end)
        }

    async def _found(self, keys: Collection[str], fields: Document) -> list[Document]:
        found: list[Document] = []
        ordered = list(keys)
        for start in range(0, len(ordered), _ASKED_AT_ONCE):
            with translated():
                cursor = self._lists.find({"_id": {"$in": ordered[start : start + _ASKED_AT_ONCE]}}, fields)
                found += await cursor.to_list(None)
        return found

    async def _pushed(self, key: str, other: str) -> bool:
        """Add to one list; return False if it is full and does not hold the id."""
        while True:
            try:
                with translated():
                    saved = await self._lists.find_one_and_update(
                        {"_id": key, "refs": {"$ne": other}, "full": {"$ne": True}},
                        {"$push": {"refs": other}, "$inc": {"n": 1}},
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
                continue  # somebody else began the list at the same moment
            if saved["n"] >= self._list_length:
                with translated():
                    await self._lists.update_one({"_id": key}, {"$set": {"full": True}})
            return True

    async def _holds(self, slot: str, levels: int, other: str) -> bool:
        """Tell whether one of the full lists has the id."""
        full = {"_id": {"$in": [f"{slot}/{level}" for level in range(levels)]}, "refs": other}
        with translated():
            return await self._lists.find_one(full, {"_id": True}) is not None

    def _remember(self, slot: str, level: int) -> None:
        self._open[slot] = level
        self._open.move_to_end(slot)
        if len(self._open) > _REMEMBERED:
            self._open.popitem(last=False)


def _enough(lists: Mapping[str, int], limit: int) -> list[str]:
    """Return lists that hold `limit` ids together, or all of them."""
    chosen, held = [], 0
    for key in sorted(lists):
        if held >= limit:
            break
        chosen.append(key)
        held += lists[key]
    return chosen
