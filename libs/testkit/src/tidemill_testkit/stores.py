"""Aggregates in memory: the store that services run on, over a collection of the test's own."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, TypeVar, cast

from bson import CodecOptions, decode, encode
from bson.tz_util import utc
from pymongo.errors import BulkWriteError, DuplicateKeyError
from pymongo.results import UpdateResult

from tidemill_core.aggregate import Aggregate, Event
from tidemill_core.application import Clock, Page, PageRequest, Request, Where
from tidemill_core.errors import NotFound
from tidemill_core.quotas import Quota
from tidemill_kit.store.aggregates import Codec, MongoAggregates
from tidemill_kit.store.mongo import Document, document_id

A = TypeVar("A", bound=Aggregate)

_AWARE: CodecOptions[Document] = CodecOptions(tz_aware=True, tzinfo=utc)


class InMemoryAggregates(MongoAggregates[A]):
    """Has the codec, the limits and the pages of the store that it stands for, and is stricter in one thing.

    Each change is decided twice, as after a lost race, and both must agree: it is a pure function of the aggregate.
    Events count as published as soon as they are saved. Any list is taken: which of them have an index is not known.
    """

    def __init__(
        self,
        *aggregates: A,
        codec: Codec[A],
        missing: Callable[[str], NotFound],
        clock: Clock | None = None,
        quota: Quota | None = None,
    ) -> None:
        self._documents = InMemoryCollection()
        super().__init__(
            cast("Any", self._documents),
            codec=codec,
            topic="tidemill.tests.aggregate.v1",
            source="/tidemill/tests",
            missing=missing,
            clock=clock,
            quota=quota,
        )
        self.published: list[Event] = []
        """Every event saved so far, in order."""
        for aggregate in aggregates:
            self._put(aggregate)

    def all(self) -> list[A]:
        """Return every aggregate, tombstones too, in the order in which they were added."""
        return [self._decoded(document) for document in self._documents.all()]

    def remove(self, project: str, aggregate_id: str) -> None:
        """Remove one without a trace, as the erasure of its project does."""
        self._documents.remove(document_id(project, aggregate_id))

    async def list(
        self, project: str, *, page: PageRequest, where: Where | None = None, show_deleted: bool = False
    ) -> Page[A]:
        """See `Aggregates.list`."""
        self._lists = [(), tuple({**page.where, **(where or {})})]
        return await super().list(project, page=page, where=where, show_deleted=show_deleted)

    async def _decide_and_save(
        self,
        key: str,
        document: Document | None,
        decide: Callable[[A | None], A],
        request: Request,
        *,
        known: A | None = None,
    ) -> A | None:
        def decide_twice(stored: A | None) -> A:
            again = self._decoded(decode(encode(document), _AWARE)) if document and known is None else deepcopy(stored)
            first, second = decide(again), decide(stored)
            assert first == second, "decided again on the same state, the change is another: it has to be pure"
            return second

        return await super()._decide_and_save(key, document, decide_twice, request, known=known)

    async def _save(
        self, key: str, aggregate: A, fields: Document, entries: Sequence[Document], request: Request
    ) -> bool:
        encode({"outbox": entries})  # the relay has taken them out by the time that the document is read
        if not await super()._save(key, aggregate, fields, [], request):
            return False
        self.published += aggregate.pending
        return True

    def _put(self, aggregate: A) -> None:
        now = self._clock.now()
        self._documents.put(
            self._image(aggregate)
            | {
                "_id": document_id(aggregate.project, aggregate.id),
                "project": aggregate.project,
                "id": aggregate.id,
                "schema": self._codec.schema,
                "version": 1,
                "seq": len(aggregate.pending),
                "create_time": aggregate.create_time or now,
                "update_time": now,
                "requests": [],
                "outbox": [],
            }
        )


class InMemoryCollection:
    """What the store of aggregates needs of a collection of MongoDB, with documents kept as BSON."""

    name = "aggregates"

    def __init__(self) -> None:
        self._documents: dict[str, bytes] = {}

    def all(self) -> list[Document]:
        """Return every document."""
        return [decode(document, _AWARE) for document in self._documents.values()]

    def put(self, document: Document) -> None:
        """Insert or replace a document."""
        self._documents[document["_id"]] = encode(document)

    def remove(self, key: str) -> None:
        """Remove a document; removing nothing is no error."""
        self._documents.pop(key, None)

    async def find_one(self, chosen: Document, fields: Mapping[str, bool]) -> Document | None:
        """Return the first document that matches."""
        return next((_without(fields, document) for document in self._found(chosen)), None)

    def find(self, chosen: Document, fields: Mapping[str, bool]) -> "InMemoryCursor":
        """Return those that match."""
        return InMemoryCursor([_without(fields, document) for document in self._found(chosen)])

    async def count_documents(self, chosen: Document, *, limit: int) -> int:
        """Return how many match, up to the limit."""
        return min(limit, sum(1 for _ in self._found(chosen)))

    async def insert_one(self, document: Document) -> None:
        """Insert a document whose `_id` is free."""
        if document["_id"] in self._documents:
            message = "E11000 duplicate key error"
            raise DuplicateKeyError(message)
        self.put(document)

    async def insert_many(self, documents: Sequence[Document], *, ordered: bool) -> None:
        """Insert the documents whose `_id` is free; the others are refused by their index."""
        assert not ordered, "one that is refused would keep those behind it out"
        refused = list[Document]()
        for index, document in enumerate(documents):
            try:
                await self.insert_one(document)
            except DuplicateKeyError:
                refused.append({"index": index, "code": 11000})
        if refused:
            raise BulkWriteError({"writeErrors": refused})

    async def update_one(self, chosen: Document, update: Document) -> UpdateResult:
        """Set, increase and push fields of the first document that matches."""
        before = await self.find_one_and_update(chosen, update)
        return UpdateResult({"n": 0 if before is None else 1}, acknowledged=True)

    async def find_one_and_update(self, chosen: Document, update: Document) -> Document | None:
        """Do the same, and return the document as it was before."""
        before = next(self._found(chosen), None)
        if before is None:
            return None
        refused = update.keys() - {"$set", "$inc", "$push"}
        assert not refused, refused
        document: Document = decode(self._documents[before["_id"]], _AWARE)
        for name, value in update.get("$set", {}).items():
            _put(document, name, value)
        for name, by in update.get("$inc", {}).items():
            _put(document, name, (_value(document, name) or 0) + by)
        for name, pushed in update.get("$push", {}).items():
            document[name] = [*document[name], *pushed["$each"]][pushed.get("$slice", 0) :]
        self.put(document)
        return before

    def _found(self, chosen: Document) -> Iterator[Document]:
        named = chosen.get("_id")
        if isinstance(named, dict) and "$in" in named:
            kept: Iterable[bytes | None] = [self._documents.get(each) for each in dict.fromkeys(named["$in"])]
        else:
            kept = [self._documents.get(named)] if isinstance(named, str) else self._documents.values()
        documents = (decode(document, _AWARE) for document in kept if document is not None)
        return (document for document in documents if _matches(document, chosen))


class InMemoryCursor:
    """The documents that a query found."""

    def __init__(self, documents: list[Document]) -> None:
        self._documents = documents

    def sort(self, order: Sequence[tuple[str, int]]) -> "InMemoryCursor":
        """Put them in order, all names in the direction of the first."""
        ordered = sorted(self._documents, key=lambda document: [document[name] for name, _ in order])
        return InMemoryCursor(ordered if order[0][1] > 0 else ordered[::-1])

    def limit(self, count: int) -> "InMemoryCursor":
        """Keep the first ones."""
        return InMemoryCursor(self._documents[:count])

    async def to_list(self, count: int | None) -> list[Document]:
        """Return the first ones, or all."""
        return self._documents[:count]

    async def __aiter__(self) -> AsyncIterator[Document]:
        """Yield them."""
        for document in self._documents:
            yield document


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "$in": lambda value, given: value in given,
    "$exists": lambda value, given: (value is not None) == given,
    "$gt": lambda value, given: value > given,
    "$gte": lambda value, given: value >= given,
    "$lt": lambda value, given: value < given,
    "$lte": lambda value, given: value is not None and value <= given,
}


def _matches(document: Document, chosen: Document) -> bool:
    return all(
        any(_matches(document, each) for each in condition)
        if name == "$or"
        else all(_COMPARISONS[how](_value(document, name), given) for how, given in condition.items())
        if isinstance(condition, dict)
        else _value(document, name) == condition
        for name, condition in chosen.items()
    )


def _value(document: Any, name: str) -> Any:  # noqa: ANN401 - whatever BSON holds
    for part in name.split("."):
        document = document.get(part) if isinstance(document, dict) else None
    return document


def _put(document: Document, name: str, value: Any) -> None:  # noqa: ANN401 - ditto
    *path, last = name.split(".")
    for part in path:
        document = document.setdefault(part, {})
    document[last] = value


def _without(fields: Mapping[str, bool], document: Document) -> Document:
    return {name: value for name, value in document.items() if fields.get(name, True)}
