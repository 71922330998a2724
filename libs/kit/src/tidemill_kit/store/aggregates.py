"""Aggregates in MongoDB: one document each, whose state and events are saved by one write.

A document is `{_id: "<project>/<id>", project, id, schema, version, seq, deleted, labels, create_time, update_time,
state, requests: [text], outbox: [entry], outbox_at}`. `state` belongs to the codec, the rest to this module;
only the relay also touches `outbox` and `outbox_at`: it takes out entries by `ce_id` once they are published, and never
changes `version`. An entry is `{seq, ce_id, type, source, subject, time, topic, key, data, traceparent}`, `data` being
proto-JSON text. Of a request its id and digest are kept as one short text (as `{id, digest}` in older documents), and
nothing of one that no caller can repeat. `outbox_at` is the time of the last save with events; the relay takes it away
from an empty outbox.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, NoReturn, Protocol, TypeVar

from tidemill_core.aggregate import Aggregate
from tidemill_core.application import Clock, Page, PageRequest, Request, SystemClock, Where
from tidemill_core.errors import AlreadyExists, Conflict, InvalidInput, NotFound
from tidemill_core.paging import Place, checked_size, list_digest, place_of, token_after
from tidemill_core.quotas import Quota
from tidemill_core.resources import check_request_id
from tidemill_kit.store.batching import Batched, BatchedByKey
from tidemill_kit.store.idempotency import entry_of, remembered, was_applied
from tidemill_kit.store.labels import readable_labels, refuse_label_keys
from tidemill_kit.store.mongo import (
    Collection,
    Document,
    DuplicateId,
    RawDocument,
    count_up_to,
    document_id,
    encoded,
    insert_new,
    plain,
    read_page,
    translated,
)
from tidemill_kit.store.outbox import WITH_EVENTS, EventCodec, NewEvents, Outbox, OutboxLimits, TooLarge
from tidemill_kit.store.schema_versions import readable, with_unknown

A = TypeVar("A", bound=Aggregate)

_ATTEMPTS = 8
_MAX_FOUND = 16
"""Documents that are read by one command, of 8 MiB each at most: who reads a small one waits for all."""
_FIRST_PAUSE_S = 0.005
FOR_READING: Mapping[str, bool] = {"requests": False, "outbox": False}
"""The projection of reads: without what only writes need."""
_FOR_WRITING = {"outbox.data": False}  # which may be 6 MB while Kafka is down; one path, as each costs the server time
_SUPERSEDED = frozenset({"outbox_at_1", "project_1_create_time_1_id_1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What every aggregate has; a codec writes `Task(**identity.fields(), title=state["title"])`."""

    id: str
    project: str
    labels: dict[str, str]
    version: int
    seq: int
    create_time: datetime | None
    update_time: datetime | None
    deleted: bool

    def fields(self) -> Document:
        """Return all of it by name; cheaper than `asdict`, which copies each value."""
        return {name: getattr(self, name) for name in self.__slots__} | {"labels": dict(self.labels)}


class Codec(EventCodec[A], Protocol[A]):
    """Aggregate <-> document, and event -> message. Times in `state` keep milliseconds, as MongoDB does."""

    schema: int
    """The number of the form that `encode` writes; `decode` reads all earlier ones too."""

    def encode(self, aggregate: A) -> Document:
        """Return the state, without the fields of `Aggregate` itself."""
        ...

    def decode(self, identity: Identity, state: Document, schema: int) -> A:
        """Return the aggregate of a state that was written with the number `schema`."""
        ...


def _noop(_new: NewEvents) -> None:
    """Enqueues nothing: the relay's sweep finds the events."""


class MongoAggregates(Generic[A]):
    """Implements `application.Aggregates`. `enqueue` is called for every document that got new events."""

    def __init__(  # noqa: PLR0913 - an adapter is made of its parts, once, in app.py
        self,
        collection: Collection,
        *,
        codec: Codec[A],
        topic: str,
        source: str,
        missing: Callable[[str], NotFound],
        enqueue: Callable[[NewEvents], None] = _noop,
        limits: OutboxLimits | None = None,
        clock: Clock | None = None,
        lists: Sequence[Sequence[str]] = (),
        usually_new: bool = False,
        quota: Quota | None = None,
    ) -> None:
        """Prepare; `lists` are the sets of fields that `list` filters by, `usually_new` is what `upsert` is given.

        A `quota` counts what is not deleted.
        """
        self._quota = quota
        self._lists = [(), *map(tuple, lists)]
        self._usually_new = usually_new
        self._collection = collection
        self._codec = codec
        self._missing = missing
        self._enqueue = enqueue
        self._limits = limits or OutboxLimits()
        self._outbox = Outbox(codec, topic=topic, source=source, collection=collection.name, limits=self._limits)
        self._clock = clock or SystemClock()
        self._insert = Batched(self._insert_all)
        self._find = BatchedByKey(self._find_all, max_batch=_MAX_FOUND, repeatable=True)

    async def ensure_indexes(self) -> None:
        """Create what lists and the relay's sweep need; repeating it changes nothing."""
        with translated():
            for fields in self._lists:
                await self._collection.create_index(_list_index(fields))
            await self._collection.create_index([("outbox_at", 1), ("_id", 1)], partialFilterExpression=WITH_EVENTS)
            for name in _SUPERSEDED & set(await self._collection.index_information()):
                await self._collection.drop_index(name)

    async def get(self, project: str, aggregate_id: str) -> A:
        """See `Aggregates.get`. What is read of a project at the same time is found by one command."""
        document = await self._find(project, document_id(project, aggregate_id))
        if document is None or document["deleted"]:
            raise self._missing(aggregate_id)
        return self._decoded(document)

    async def _find_all(self, _project: str, keys: Sequence[str]) -> Sequence[Document | None]:
        """Return the documents with these `_id`s, each as a read has it that begins now."""
        with translated():
            if len(keys) == 1:
                return [await self._collection.find_one({"_id": keys[0]}, FOR_READING)]
            found = await self._collection.find({"_id": {"$in": sorted(set(keys))}}, FOR_READING).to_list(None)
        return [*map({document["_id"]: document for document in found}.get, keys)]

    async def get_many(self, project: str, aggregate_ids: Sequence[str]) -> dict[str, A]:
        """See `Aggregates.get_many`."""
        query = {"_id": {"$in": [document_id(project, each) for each in aggregate_ids]}}
        with translated():
            documents = await self._collection.find(query, FOR_READING).to_list(None)
        return {document["id"]: self._decoded(document) for document in documents if not document["deleted"]}

    async def list(
        self, project: str, *, page: PageRequest, where: Where | None = None, show_deleted: bool = False
    ) -> Page[A]:
        """See `Aggregates.list`."""
        size, where = checked_size(page), {**page.where, **(where or {})}
        digest = list_digest(project, where, show_deleted=show_deleted, newest_first=page.newest_first)
        if set(where) not in map(set, self._lists):
            self._refuse_list(page, where)
        query: Document = {"project": project, **{f"state.{name}": value for name, value in where.items()}}
        query["deleted"] = {"$in": [False, True]} if show_deleted else False
        onward, step = ("$lt", -1) if page.newest_first else ("$gt", 1)  # the index is read from its other end
        if place := place_of(page.token, digest=digest):
            same_time = {"create_time": place.create_time, "id": {onward: place.id}}
            query["create_time"] = {f"{onward}e": place.create_time}  # where an index is begun at; $or does not say
            query["$or"] = [{"create_time": {onward: place.create_time}}, same_time]
        found = self._collection.find(query, FOR_READING).sort([("create_time", step), ("id", step)])
        shown, more = await read_page(found, size)
        token = token_after(Place(shown[-1]["create_time"], shown[-1]["id"]), digest=digest) if more else ""
        return Page(items=[self._decoded(document) for document in shown], next_token=token)

    def _refuse_list(self, page: PageRequest, where: Where) -> NoReturn:
        """Refuse a list that no index serves: one that a caller's filter asks for, or one of the code."""
        if page.where:
            text = f"asks for {' and '.join(sorted(where))} together, which no index serves: filter by fewer fields"
            raise InvalidInput.at(field="filter", text=text)
        message = f"{self._collection.name} declares no list by {sorted(where)}: name it in `lists`"
        raise TypeError(message)

    async def add(self, aggregate: A, *, request: Request) -> A:
        """See `Aggregates.add`."""

        def added(stored: A | None) -> A:
            if stored is not None and not stored.deleted:
                message = f"{aggregate.id} exists already: choose another id"
                raise AlreadyExists(message, id=aggregate.id)
            return deepcopy(aggregate)

        return await self._write(aggregate.project, aggregate.id, added, request, usually_new=True)

    async def update(
        self,
        project: str,
        aggregate_id: str,
        change: Callable[[A], None],
        *,
        request: Request,
        known: A | None = None,
    ) -> A:
        """See `Aggregates.update`."""

        def changed(stored: A | None) -> A:
            if stored is None or stored.deleted:
                raise self._missing(aggregate_id)
            change(stored)
            return stored

        if known is not None and known.seq == 0 and not request.named:  # no event of it waits, and no request is kept
            key, mine = document_id(project, aggregate_id), deepcopy(known)
            document = _as_loaded(known, key, self._codec.schema)
            if (saved := await self._decide_and_save(key, document, changed, request, known=mine)) is not None:
                return saved
        return await self._write(project, aggregate_id, changed, request)

    async def upsert(self, fresh: A, change: Callable[[A], None], *, request: Request) -> A:
        """See `Aggregates.upsert`."""

        def changed(stored: A | None) -> A:
            aggregate = deepcopy(fresh) if stored is None else stored
            change(aggregate)
            return aggregate

        return await self._write(fresh.project, fresh.id, changed, request, usually_new=self._usually_new)

    async def _write(
        self,
        project: str,
        aggregate_id: str,
        decide: Callable[[A | None], A],
        request: Request,
        *,
        usually_new: bool = False,
    ) -> A:
        """Load, decide and save, again on fresh state after a lost race; what is new may need no loading."""
        check_request_id(request.id)
        key = document_id(project, aggregate_id)
        fields = _FOR_WRITING if request.named else _FOR_WRITING | {"requests": False}
        if usually_new and self._quota is None and (saved := await self._decide_and_save(key, None, decide, request)):
            return saved
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(random.uniform(0, _FIRST_PAUSE_S * 2**attempt))  # noqa: S311 - jitter, no secret
            with translated():
                document = await self._collection.find_one({"_id": key}, fields)
            if document is not None and was_applied(document.get("requests", ()), request):
                return self._decoded(document)
            saved = await self._decide_and_save(key, document, decide, request)
            if saved is not None:
                return saved
        message = f"{aggregate_id} is changed by too many concurrent requests: try again"
        raise Conflict(message, id=aggregate_id)

    async def _decide_and_save(
        self,
        key: str,
        document: Document | None,
        decide: Callable[[A | None], A],
        request: Request,
        *,
        known: A | None = None,
    ) -> A | None:
        """Return the aggregate as saved, None where the document changed meanwhile. What is `known` is not decoded."""
        stored, before, kept = known, None, None
        if stored is None and document is not None:
            stored, kept = self._decoded(document), encoded(document["state"])
            before = self._image(stored)
        aggregate = decide(stored)  # may change it in place
        refuse_label_keys(aggregate)
        if self._quota is not None and not aggregate.deleted and (document is None or document["deleted"]):
            mine: Document = {"project": aggregate.project, "deleted": False}
            count = await count_up_to(self._collection, mine, limit=self._quota.limit)
            self._quota.check(aggregate.project, count)
        image = self._image(aggregate)
        if document is not None and before == image and not aggregate.pending:
            return aggregate if await self._remember(key, document["version"], request) else None
        if (size := sum(len(part.raw) for part in (image["state"], image["labels"]))) > self._limits.state_bytes:
            raise TooLarge(aggregate.id, size=size, limit=self._limits.state_bytes)
        aggregate.version, aggregate.seq = (document["version"], document["seq"]) if document else (0, 0)
        entries = self._outbox.entries(aggregate, waiting=len(document["outbox"]) if document else 0)
        aggregate.update_time = _milliseconds(self._clock.now())
        aggregate.create_time = aggregate.create_time or aggregate.update_time
        aggregate.seq += len(entries)
        if document is not None and kept is not None and before is not None and not aggregate.deleted:
            image |= {"state": self._with_unknown(document["schema"], kept, before["state"], image["state"])}
        fields = image | {
            "schema": self._codec.schema,
            "seq": aggregate.seq,
            "create_time": aggregate.create_time,
            "update_time": aggregate.update_time,
        }
        if not await self._save(key, aggregate, fields, entries, request):
            return None
        aggregate.version += 1
        aggregate.pending = []
        if entries:
            alone = document is None or not document["outbox"]
            self._enqueue(
                NewEvents(document_id=key, project=aggregate.project, entries=tuple(entries) if alone else ())
            )
        return aggregate

    async def _remember(self, key: str, version: int, request: Request) -> bool:
        """Keep the id of a request that changed nothing, so that it will not change anything later either."""
        if not request.named:
            return True
        unchanged = {"_id": key, "version": version}
        with translated():
            result = await self._collection.update_one(unchanged, {"$push": remembered(request)})
        return result.matched_count == 1

    async def _save(
        self, key: str, aggregate: A, fields: Document, entries: Sequence[Document], request: Request
    ) -> bool:
        """Write everything at once, if the document is still the version that was decided on."""
        outbox_at = {"outbox_at": aggregate.update_time} if entries else {}
        if aggregate.version == 0:
            named = {"_id": key, "project": aggregate.project, "id": aggregate.id, "version": 1}
            requests = [entry_of(request)] if request.named else []
            document = named | fields | {"requests": requests, "outbox": entries} | outbox_at
            return await self._insert(document)
        pushed: Document = remembered(request)
        if entries:
            pushed["outbox"] = {"$each": entries}
        update = {"$set": fields | outbox_at, "$inc": {"version": 1}} | ({"$push": pushed} if pushed else {})
        with translated():
            result = await self._collection.update_one({"_id": key, "version": aggregate.version}, update)
        return result.matched_count == 1

    async def _insert_all(self, documents: Sequence[Document]) -> Sequence[bool]:
        """Return which of the documents were inserted: those whose `_id` was free."""
        if len(documents) > 1:
            first = {each["_id"]: each for each in reversed(documents)}
            taken = await insert_new(self._collection, list(first.values()))
            return [each is first[each["_id"]] and each["_id"] not in taken for each in documents]
        try:
            with translated():
                await self._collection.insert_one(documents[0])
        except DuplicateId:
            return [False]
        return [True]

    def _image(self, aggregate: A) -> Document:
        """Return what a change can change; encoded, so that it shares nothing with it, and is encoded once."""
        return {
            "state": encoded(self._codec.encode(aggregate)),
            "labels": encoded(dict(sorted(readable_labels(aggregate.labels).items()))),
            "deleted": aggregate.deleted,
        }

    def _with_unknown(
        self, schema: int, kept: RawDocument, before: RawDocument, after: RawDocument
    ) -> RawDocument | Document:
        """Return the state with what a newer version of the same form has added to the one that is kept."""
        if schema != self._codec.schema or kept == before:
            return after
        state: Document = with_unknown(plain(kept), plain(before), plain(after))
        return state

    def _decoded(self, document: Document) -> A:
        return decoded(self._codec, document)


def decoded(codec: Codec[A], document: Document) -> A:
    """Return the aggregate of a document.

    Raises:
        DependencyUnavailable: a newer version wrote it.

    """
    identity = Identity(**{name: document[name] for name in Identity.__slots__})
    with readable(document["_id"], schema=document["schema"], known=codec.schema):
        return codec.decode(identity, document["state"], document["schema"])


def _as_loaded(saved: Aggregate, key: str, schema: int) -> Document:
    """Return what loading an aggregate gives that was saved without events, but for its state."""
    named = {name: getattr(saved, name) for name in Identity.__slots__}
    return named | {"_id": key, "schema": schema, "outbox": []}


def _list_index(fields: Sequence[str]) -> list[tuple[str, int]]:
    """Return the index of a list: what it filters by, then its order."""
    names = ["project", "deleted", *(f"state.{field}" for field in fields), "create_time", "id"]
    return [(name, 1) for name in names]


def _milliseconds(moment: datetime) -> datetime:
    """Return the time as MongoDB keeps it, so that what is returned equals what is read."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
