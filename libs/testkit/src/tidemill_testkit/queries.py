"""Fails each test in which a store asks MongoDB for something that none of its indexes covers.

The embedded server reports no plan, and with few documents a scan of all of them costs nothing. So what the code
of Tidemill asks for is recorded, and compared with the indexes that it has declared in the same database: equal fields
first, then the order, then the range, all of them in one index (as MongoDB's planner would have it), or an `_id`. A
query that does without is named in `EXCEPTIONS`, with the reason.
"""

import functools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorCollection, AsyncIOMotorCursor

_UNDER_WAY = "an index finds the few that are under way, and of these next to none is deleted"

EXCEPTIONS: Mapping[tuple[str, str], str] = {
    ("tidemill_kit.workers.pending", "PendingDocuments.__call__"): _UNDER_WAY,
    ("tidemill_inference.generation.mongo", "MongoRecords.remove"): "events wait in the oldest records"
    " only while Kafka is down",
    ("tidemill_rag.indexing.pending", "PendingIndexes._versions"): "all collections, once in each process; after that "
    + _UNDER_WAY,
    ("tidemill_rag.indexing.pending", "PendingIndexes._with_pending_rows"): _UNDER_WAY,
}
"""By module and function: why no index has all that it asks for."""

_FILTERED = (
    "find",
    "find_one",
    "update_one",
    "update_many",
    "delete_one",
    "delete_many",
    "find_one_and_update",
    "count_documents",
)
_ASKS_FOR_OTHERS = ("tidemill_kit.workers.pending", "page_of_documents")
_RANGES = frozenset({"$gt", "$gte", "$lt", "$lte"})
_POINTS = frozenset({"$in", "$eq"})


@dataclass(frozen=True, slots=True)
class Index:
    """An index, and what a document must have to be in it."""

    fields: tuple[str, ...]
    partial: frozenset[str] = frozenset()


@dataclass(slots=True)
class Query:
    """What was asked for, and where in the code."""

    database: str
    collection: str
    filter: Mapping[str, Any]
    sort: tuple[str, ...]
    asked_by: tuple[str, str]


Indexes = dict[tuple[str, str], list[Index]]
"""What was declared, by database and collection."""


class Recorder:
    """Keeps the queries of one test, and knows the indexes that any test or fixture of the run has declared."""

    def __init__(self, indexes: Indexes) -> None:
        self.queries: list[Query] = []
        self.indexes = indexes

    def uncovered(self) -> Iterator[str]:
        """Say which queries no index covers, in databases in which indexes were declared."""
        declared = {database for database, _ in self.indexes}
        for query in self.queries:
            indexes = self.indexes.get((query.database, query.collection), [])
            if query.database in declared and query.asked_by not in EXCEPTIONS and not covered(query, indexes):
                has = [" ".join(index.fields) for index in indexes]
                yield (
                    f"{'.'.join(query.asked_by)} asks {query.collection} for {query.filter} in the order"
                    f" {query.sort or '-'}, and there is {has or 'no index'}"
                )


def covered(query: Query, indexes: Sequence[Index]) -> bool:
    """Return whether an index has all that is asked for, in its order."""
    branches = [each for part in _flat(query.filter) for each in part.get("$or", ())]
    equal, ranged, named = _fields(query.filter)
    if _by_index(equal, ranged, named, query.sort, indexes):
        return True
    return bool(branches) and all(
        _by_index(equal | more, ranged | wider, named | known, query.sort, indexes)
        for more, wider, known in map(_fields, branches)
    )


def _by_index(
    equal: set[str], ranged: set[str], named: set[str], sort: Sequence[str], indexes: Sequence[Index]
) -> bool:
    if "_id" in equal or ("_id" in ranged and not (equal or [each for each in sort if each != "_id"])):
        return True
    order = [each for each in sort if each not in equal]
    for index in indexes:
        if not index.partial <= named:
            continue
        length = next((at for at, each in enumerate(index.fields) if each not in equal), len(index.fields))
        rest = list(index.fields[length:])
        sorted_by = rest[: len(order)] == order or (not rest and order == ["_id"])
        within = equal <= set(index.fields) and ranged <= set(index.fields)
        begins = length > 0 or bool(rest and (rest[0] in ranged or (order and rest[0] == order[0] and index.partial)))
        if sorted_by and within and begins:
            return True
    return False


def _fields(where: Mapping[str, Any]) -> tuple[set[str], set[str], set[str]]:
    """Return the fields of which values are asked for, those of which ranges are, and all that are named."""
    equal, ranged, named = set[str](), set[str](), set[str]()
    for part in _flat(where):
        for name, value in part.items():
            if name.startswith("$"):
                continue
            named.add(name)
            operators = {each for each in value if each.startswith("$")} if isinstance(value, Mapping) else set()
            if not operators or operators & _POINTS:
                equal.add(name)
            elif operators & _RANGES:
                ranged.add(name)
    return equal, ranged - equal, named


def _flat(where: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield where
    for each in where.get("$and", ()):
        yield from _flat(each)


def _caller() -> tuple[str, str] | None:
    """Return module and function of Tidemill's own code that asks, or None where a test does."""
    frame = sys._getframe(2)  # noqa: SLF001 - as inspect does, without reading files
    while (
        frame.f_globals["__name__"].partition(".")[0] in {"motor", "asyncio", "functools"}
        or (frame.f_globals["__name__"], frame.f_code.co_qualname) == _ASKS_FOR_OTHERS
    ) and frame.f_back:
        frame = frame.f_back
    module = str(frame.f_globals["__name__"])
    if not module.startswith("tidemill_") or module.startswith("tidemill_testkit"):
        return None
    return module, frame.f_code.co_qualname


def _sorted_by(sort: Any) -> tuple[str, ...]:  # noqa: ANN401 - all the forms that the driver takes
    if not sort:
        return ()
    if isinstance(sort, str):
        return (sort,)
    return tuple(each if isinstance(each, str) else each[0] for each in sort)


def _record_filtered(recorder: Recorder, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    original = getattr(AsyncIOMotorCollection, name)

    @functools.wraps(original)
    def asked(self: Any, *given: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever the driver takes
        answer = original(self, *given, **named)
        if asked_by := _caller():
            where = given[0] if given else named.get("filter", {})
            query = Query(self.database.name, self.name, where or {}, _sorted_by(named.get("sort")), asked_by)
            recorder.queries.append(query)
            if name == "find":
                answer.recorded_query = query
        return answer

    monkeypatch.setattr(AsyncIOMotorCollection, name, asked)


def _record_others(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    aggregate, distinct = AsyncIOMotorCollection.aggregate, AsyncIOMotorCollection.distinct
    sort = AsyncIOMotorCursor.sort

    def aggregated(self: Any, pipeline: Any, *given: Any, **named: Any) -> Any:  # noqa: ANN401 - see above
        if asked_by := _caller():
            where = pipeline[0].get("$match", {}) if pipeline else {}
            recorder.queries.append(Query(self.database.name, self.name, where, (), asked_by))
        return aggregate(self, pipeline, *given, **named)

    def distinguished(self: Any, key: str, where: Any = None, **named: Any) -> Any:  # noqa: ANN401 - see above
        if asked_by := _caller():
            recorder.queries.append(Query(self.database.name, self.name, where or {}, (), asked_by))
        return distinct(self, key, where, **named)

    def ordered(self: Any, keys: Any, *direction: Any) -> Any:  # noqa: ANN401 - see above
        if query := getattr(self, "recorded_query", None):
            query.sort = _sorted_by(keys)
        return sort(self, keys, *direction)

    monkeypatch.setattr(AsyncIOMotorCollection, "aggregate", aggregated)
    monkeypatch.setattr(AsyncIOMotorCollection, "distinct", distinguished)
    monkeypatch.setattr(AsyncIOMotorCursor, "sort", ordered)


@pytest.fixture(scope="session", autouse=True)
def declared_indexes() -> Iterator[Indexes]:
    """Record each index from the first fixture on: a service that serves a module's tests declares its own once."""
    create_index = AsyncIOMotorCollection.create_index
    indexes: Indexes = {}

    def created(self: Any, keys: Any, **options: Any) -> Any:  # noqa: ANN401 - whatever the driver takes
        partial = frozenset(options.get("partialFilterExpression", ()))
        indexes.setdefault((self.database.name, self.name), []).append(Index(_sorted_by(keys), partial))
        return create_index(self, keys, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(AsyncIOMotorCollection, "create_index", created)
        yield indexes


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give the recorder to each test of a database: as a fixture of all, it cost the others more than they do."""
    names: list[str] = getattr(item, "fixturenames", [])
    if "queries" not in names and not {"stack", "database"}.isdisjoint(names):
        names.insert(0, "queries")


@pytest.fixture
def queries(declared_indexes: Indexes) -> Iterator[Recorder]:
    """Record what the code under test asks MongoDB for, and fail the test where no index covers it."""
    recorder = Recorder(declared_indexes)
    with pytest.MonkeyPatch.context() as patched:
        for name in _FILTERED:
            _record_filtered(recorder, patched, name)
        _record_others(recorder, patched)
        yield recorder
    assert not (found := sorted(set(recorder.uncovered()))), "\n".join(found)
