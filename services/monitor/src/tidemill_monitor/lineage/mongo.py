"""The history in MongoDB: one small document for each thing, written and read by `_id`.

`{_id: "<project>/<kind>/<id>", project, kind, id, time, parts: {<key>: {event, seq, time, facts, message}}, sources}`,
where `sources` are "<relation>/<id>". A node's document has its predecessors; its successors are in lists.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from tidemill_kit.store.batching import Batched, each_of
from tidemill_kit.store.mongo import Collection as MongoCollection
from tidemill_kit.store.mongo import (
    Document,
    DuplicateId,
    delete_many,
    ids_of,
    insert_new,
    patiently,
    translated,
    updated,
)
from tidemill_monitor.lineage.domain.graph import (
    PLAIN,
    STATE,
    Edge,
    Neighbours,
    Node,
    NodeUpdate,
    Part,
    Ref,
    dispensable,
)
from tidemill_monitor.lineage.domain.kinds import (
    EXAMPLE_OF,
    RELATION_OF,
    VERSION_OF,
    Direction,
    Kind,
    Relation,
    relations_from,
)
from tidemill_monitor.lineage.mongo_edges import MongoEdges
from tidemill_monitor.lineage.mongo_ends import End

_QUERY_BATCH = 1000
_TOGETHER = 2
_COUNTS = {"_id": "nodes"}
_MAX_VERSIONS = 100_000

_Reported = tuple[str, Sequence[NodeUpdate]]
"""A project, and what one event adds to it."""


class MongoGraph:
    """Implements `ports.Graph`."""

    def __init__(
        self, nodes: MongoCollection, edges: MongoEdges, counts: MongoCollection, *, count_s: float, max_parts: int
    ) -> None:
        """Prepare; `max_parts` are the events of one thing, beyond which the oldest are left out."""
        self._nodes = nodes
        self._edges = edges
        self._counts = counts
        self._count_s = count_s
        self._max_parts = max_parts
        self._together = Batched(self._record_all, max_concurrent=1, repeatable=True)

    async def ensure_indexes(self) -> None:
        """Create what the seldom sweep needs; everything else goes by `_id`."""
        with translated():
            await self._nodes.create_index([("kind", 1), ("kept", 1), ("time", 1)])

    async def record(self, project: str, updates: Sequence[NodeUpdate]) -> Counter[Kind]:
        """See `Graph.record`. What comes from many events at the same time is written together."""
        return await self._together((project, updates)) if updates else Counter()

    async def _record_all(self, reported: Sequence[_Reported]) -> Sequence[Counter[Kind]]:
        """Write the nodes, then their edges; return the number of new nodes by kind for each event."""
        new = [Counter[Kind]() for _ in reported]
        inserted = await self._inserted(reported)
        for event, place in inserted:
            new[event][reported[event][1][place].ref.kind] += 1
        await self._add(sum(new, Counter[Kind]()))  # at once: a next try finds them there
        await self._save_others(reported, inserted, new)
        await self._edges.add_all(
            (End(project, edge.ends[0], edge.relation, Direction.FORWARD), edge.target)
            for project, updates in reported
            for each in updates
            for edge in each.sources
        )
        return new

    async def _save_others(
        self, reported: Sequence[_Reported], inserted: Collection[tuple[int, int]], new: Sequence[Counter[Kind]]
    ) -> None:
        """Write what was not inserted: the updates of one thing in their order, several things at the same time."""
        of_thing: dict[str, list[tuple[int, str, NodeUpdate]]] = {}
        for event, (project, updates) in enumerate(reported):
            for place, each in enumerate(updates):
                if (event, place) not in inserted:
                    of_thing.setdefault(_key(project, each.ref), []).append((event, project, each))
        saved = Counter[Kind]()

        async def save(updates: Sequence[tuple[int, str, NodeUpdate]]) -> None:
            for event, project, each in updates:
                if await self._saved(project, each):
                    new[event][each.ref.kind] += 1
                    saved[each.ref.kind] += 1

        try:
            await each_of(save, list(of_thing.values()))
        finally:
            await self._add(saved)

    async def _inserted(self, reported: Sequence[_Reported]) -> set[tuple[int, int]]:
        """Insert together what is mostly reported once; return which updates of which events made their nodes."""
        new: dict[str, tuple[Document, tuple[int, int]]] = {}
        for event, (project, updates) in enumerate(reported):
            for place, each in enumerate(updates):
                if each.part is not None and each.part.key == STATE:
                    document = _new_document(project, each, each.part)
                    new.setdefault(document["_id"], (document, (event, place)))
        if len(new) < _TOGETHER:
            return set()  # by itself it is updated or inserted in one call
        taken = await insert_new(self._nodes, [document for document, _ in new.values()])
        return {update for key, (_, update) in new.items() if key not in taken}

    async def record_examples(self, project: str, curation: str, feedback: Sequence[str]) -> None:
        """See `Graph.record_examples`."""
        distinct = sorted(set(feedback))
        ends = [End(project, Ref(Kind.FEEDBACK, each), EXAMPLE_OF, Direction.FORWARD) for each in distinct]
        held = await self._edges.hold(ends, curation)
        missing = [end for end in ends if end not in held]
        await each_of(lambda end: self._edges.add(end, curation), missing)
        target = Ref(Kind.CURATION, curation)
        await self._edges.replace(End(project, target, EXAMPLE_OF, Direction.BACK), distinct)

    async def nodes(self, project: str, refs: Collection[Ref]) -> Mapping[Ref, Node]:
        """See `Graph.nodes`."""
        found = [_node(document) for document in await self._found(project, refs)]
        return {node.ref: node for node in found}

    async def neighbours(
        self,
        project: str,
        refs: Collection[Ref],
        direction: Direction,
        *,
        limit: int,
        only: Collection[Relation] | None = None,
    ) -> Sequence[Neighbours]:
        """See `Graph.neighbours`."""
        if direction is Direction.FORWARD:
            relations = {ref: relations_from(ref.kind) for ref in refs}
            found = []
        else:
            relations = {ref: (EXAMPLE_OF,) if ref.kind is Kind.CURATION else () for ref in refs}
            found = await self._sources(project, refs, limit)
        ends = [End(project, ref, relation, direction) for ref in refs for relation in relations[ref]]
        lists = await self._edges.read([end for end in ends if only is None or end.relation in only], limit=limit)
        found += [
            Neighbours(ref=end.ref, relation=end.relation, direction=direction, ids=ids, count=count)
            for end, (ids, count) in lists.items()
        ]
        place = {ref: number for number, ref in enumerate(refs)}
        chosen = [each for each in found if only is None or each.relation in only]
        return sorted(chosen, key=lambda each: (place[each.ref], each.relation.name))

    async def inferences_before(self, moment: datetime, *, limit: int) -> Sequence[tuple[str, Ref]]:
        """See `Graph.inferences_before`."""
        old = {"kind": Kind.INFERENCE.value, "kept": None, "time": {"$lt": moment}}
        with translated():
            found = await self._nodes.find(old, {"project": True, "id": True}).limit(limit).to_list(limit)
        return [(document["project"], Ref(Kind.INFERENCE, document["id"])) for document in found]

    async def keep(self, project: str, ref: Ref) -> None:
        """See `Graph.keep`."""
        with translated():
            await self._nodes.update_one({"_id": _key(project, ref)}, {"$set": {"kept": True}})

    async def forget(self, project: str, ref: Ref) -> None:
        """See `Graph.forget`. The document goes last, so that what breaks off is done again."""
        node = (await self.nodes(project, [ref])).get(ref)
        for edge in node.sources if node else ():
            source, _ = edge.ends
            await self._edges.remove(End(project, source, edge.relation, Direction.FORWARD), ref.id)
        with translated():
            gone = await self._nodes.delete_one({"_id": _key(project, ref)})
        await self._add({ref.kind: -gone.deleted_count})

    async def erase_project(self, project: str) -> int:
        """Remove some nodes of a project, and return how many; 0 when none is left. Their edges are apart."""
        removed = 0
        while not removed:  # 0 of those that were found: another process was faster
            with translated():
                found = await self._nodes.find(ids_of(project), {"kind": True}).limit(_QUERY_BATCH).to_list(None)
                if not found:
                    break
                removed = await delete_many(self._nodes, [each["_id"] for each in found])
            counted = Counter(Kind(each["kind"]) for each in found)
            await self._add({kind: -number for kind, number in counted.items()})
        return removed

    async def erase_document(self, project: str, document: str) -> int:
        """Remove what is known of a document and its versions; return in how many nodes. Their places stay."""
        ref = Ref(Kind.DOCUMENT, document)
        found = await self.neighbours(project, [ref], Direction.FORWARD, limit=_MAX_VERSIONS, only=[VERSION_OF])
        versions = [Ref(Kind.DOCUMENT_VERSION, each) for of_one in found for each in of_one.ids]
        erased = 0
        for node in await self._found(project, [ref, *versions]):
            facts = {key: [each for each in part["facts"] if each[0] in PLAIN] for key, part in node["parts"].items()}
            said = [key for key, part in node["parts"].items() if len(part["facts"]) > len(facts[key])]
            if said:
                update: Document = {"$set": {f"parts.{key}.facts": facts[key] for key in said}}
                with translated():
                    erased += (await self._nodes.update_one({"_id": node["_id"]}, update)).modified_count
        return erased

    async def counts(self) -> Mapping[Kind, int]:
        """See `Graph.counts`."""
        with translated():
            found = await self._counts.find_one(_COUNTS)
        if found is None:
            found = await self._counted()
        return {kind: found.get(kind.value, 0) for kind in Kind}

    async def _counted(self) -> Document:
        """Count once, where nothing was kept so far."""
        with patiently(self._count_s), translated():
            groups = self._nodes.aggregate([{"$group": {"_id": "$kind", "n": {"$sum": 1}}}])
            found: Document = {group["_id"]: group["n"] async for group in groups}  # as many as there are kinds
            await self._counts.update_one(_COUNTS, {"$setOnInsert": found or {"begun": True}}, upsert=True)
        return found

    async def _add(self, new: Mapping[Kind, int]) -> None:
        changed = {kind.value: number for kind, number in new.items() if number}
        if changed:
            with translated():
                await self._counts.update_one(_COUNTS, {"$inc": changed})

    async def _saved(self, project: str, updates: NodeUpdate) -> bool:
        """Write one thing; return whether it is new. An older part than the stored one adds only its edges and time."""
        ref, part = updates.ref, updates.part
        key = _key(project, ref)
        update: Document = {
            "$setOnInsert": {"project": project, "kind": ref.kind.value, "id": ref.id},
            "$addToSet": {"sources": {"$each": _sources_of(updates)}},
        }
        if part is None:
            return await self._begun_or_changed(key, update)
        update["$min"] = {"time": part.time}
        stored = f"parts.{part.key}"
        newer = {"$or": [{f"{stored}.seq": {"$exists": False}}, {f"{stored}.seq": {"$lte": part.seq}}]}
        changed = update | {"$set": {stored: _part_document(part)}}
        while True:
            try:
                if part.key == STATE:
                    return await self._upserted({"_id": key, **newer}, changed)
                before = await updated(self._nodes, {"_id": key, **newer}, changed, fields={"parts": True}, upsert=True)
                await self._leave_out(key, before, part)
            except DuplicateId:  # a later part is stored, or the document was created concurrently
                if await self._holds({"_id": key, f"{stored}.seq": {"$gt": part.seq}}):
                    break
            else:
                return before is None
        return await self._begun_or_changed(key, update)

    async def _leave_out(self, key: str, before: Document | None, part: Part) -> None:
        """Remove the parts that are too many together with the one that was added, which may be one of them."""
        stored = before.get("parts", {}) if before else {}
        parts = {name: _part(name, each) for name, each in stored.items()} | {part.key: part}
        if beyond := dispensable(parts.values(), maximum=self._max_parts):
            unset = {f"parts.{each}": "" for each in beyond[:_QUERY_BATCH]}
            with translated():
                await self._nodes.update_one({"_id": key}, {"$unset": unset})

    async def _begun_or_changed(self, key: str, update: Document) -> bool:
        try:
            return await self._upserted({"_id": key}, update)
        except DuplicateId:  # created concurrently
            return await self._upserted({"_id": key}, update)

    async def _upserted(self, query: Document, update: Document) -> bool:
        with translated():
            result = await self._nodes.update_one(query, update, upsert=True)
        return result.upserted_id is not None

    async def _holds(self, query: Document) -> bool:
        with translated():
            return await self._nodes.find_one(query, {"_id": True}) is not None

    async def _sources(self, project: str, refs: Collection[Ref], limit: int) -> list[Neighbours]:
        found: list[Neighbours] = []
        for ref, node in (await self.nodes(project, refs)).items():
            for relation in dict.fromkeys(edge.relation for edge in node.sources):
                ids = sorted(edge.source for edge in node.sources if edge.relation is relation)
                back = Direction.BACK
                found.append(
                    Neighbours(ref=ref, relation=relation, direction=back, ids=tuple(ids[:limit]), count=len(ids))
                )
        return found

    async def _found(self, project: str, refs: Collection[Ref]) -> list[Document]:
        keys = [_key(project, ref) for ref in refs]
        found: list[Document] = []
        for start in range(0, len(keys), _QUERY_BATCH):
            with translated():
                cursor = self._nodes.find({"_id": {"$in": keys[start : start + _QUERY_BATCH]}})
                found += await cursor.to_list(_QUERY_BATCH)
        return found


def _key(project: str, ref: Ref) -> str:
    return f"{project}/{ref.kind}/{ref.id}"


def _new_document(project: str, update: NodeUpdate, part: Part) -> Document:
    return {
        "_id": _key(project, update.ref),
        "project": project,
        "kind": update.ref.kind.value,
        "id": update.ref.id,
        "sources": _sources_of(update),
        "time": part.time,
        "parts": {part.key: _part_document(part)},
    }


def _sources_of(update: NodeUpdate) -> list[str]:
    return list(dict.fromkeys(f"{edge.relation.name}/{edge.source}" for edge in update.sources))


def _part_document(part: Part) -> Document:
    facts = [[name, value] for name, value in part.facts.items()]  # pairs: names may have dots in them
    return {"event": part.event, "seq": part.seq, "time": part.time, "facts": facts, "message": part.message}


def _node(document: Document) -> Node:
    ref = Ref(Kind(document["kind"]), document["id"])
    named = (source.split("/", 1) for source in document.get("sources", ()))
    return Node(
        ref=ref,
        time=document.get("time"),
        parts=tuple(_part(key, part) for key, part in sorted(document.get("parts", {}).items())),
        sources=tuple(Edge(RELATION_OF[name], source, ref.id) for name, source in sorted(named)),
    )


def _part(key: str, part: Document) -> Part:
    return Part(
        key=key,
        event=part["event"],
        seq=part["seq"],
        time=part["time"],
        facts=dict(part["facts"]),
        message=part["message"],
    )
