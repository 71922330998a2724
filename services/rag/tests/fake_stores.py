"""In-memory ledger and vector store."""

import math
import operator
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tidemill_core.errors import DependencyUnavailable
from tidemill_rag.collections.domain.collection import IndexRef
from tidemill_rag.indexing.domain.ledger import Counts, DesiredDocument, Row
from tidemill_rag.vectors.fusion import RRF_K
from tidemill_rag.vectors.ports import Match, Payload, Point, Query, Range, Where


class InMemoryLedger:
    """Does what `MongoLedger` does: both pass tests/adapters/test_ledgers.py."""

    def __init__(self, *, large_bytes: int = 1000) -> None:
        self.large_bytes = large_bytes
        self.counted: list[IndexRef] = []
        """Index versions whose rows were all read."""
        self.read_pages = 0
        """Of indexed rows."""
        self.stored: dict[tuple[IndexRef, str], Row] = {}
        self.epochs: dict[tuple[IndexRef, str], int] = {}

    async def upsert_desired(self, index: IndexRef, desired: DesiredDocument) -> bool:
        row = self.stored.get((index, desired.document))
        if row and row.desired.seq >= desired.seq:
            return False
        kept = row or Row(desired=desired)
        hidden_below = kept.hidden_below if desired.content and not desired.begins else desired.seq
        self.stored[index, desired.document] = replace(
            kept, desired=desired, attempts=0, failure="", again=False, hidden_below=hidden_below
        )
        return True

    async def upsert_all_desired(self, index: IndexRef, desired: Sequence[DesiredDocument]) -> None:
        for each in desired:
            await self.upsert_desired(index, each)

    async def take(self, index: IndexRef, *, epoch: int, limit: int, large: bool = False) -> Sequence[Row]:
        rows = [row for (ref, _), row in self.stored.items() if ref == index and row.pending]
        rows = [row for row in rows if self._is_large(row) == large][:limit]
        for row in rows:
            place = index, row.desired.document
            self.epochs[place] = max(epoch, self.epochs.get(place, 0))
        return deepcopy(rows)

    async def attempt(self, index: IndexRef, rows: Sequence[Row], *, epoch: int, by: int) -> None:
        for row in rows:
            place = index, row.desired.document
            stored = self.stored.get(place)
            if stored and stored.pending and stored.attempts + by >= 0 and self.epochs.get(place, 0) <= epoch:
                self.stored[place] = replace(stored, attempts=stored.attempts + by)

    async def mark_indexed(self, index: IndexRef, row: Row, *, epoch: int, chunks: int, note: str = "") -> bool:
        return self._write(
            index,
            row,
            epoch,
            replace(row, indexed_seq=row.desired.seq, chunks=chunks, attempts=0, failure="", again=False, note=note),
        )

    async def fail(self, index: IndexRef, row: Row, *, epoch: int, message: str, final: bool) -> bool:
        failed = replace(row, attempts=row.attempts + 1, failure=message if final else "")
        return self._write(index, row, epoch, failed)

    def _write(self, index: IndexRef, row: Row, epoch: int, written: Row) -> bool:
        place = index, row.desired.document
        stored = self.stored.get(place)
        if stored is None or stored.desired.seq != row.desired.seq or self.epochs.get(place, 0) > epoch:
            return False
        self.stored[place], self.epochs[place] = written, epoch
        return True

    async def rows(self, index: IndexRef, documents: Sequence[str]) -> Mapping[str, Row]:
        found = {document: self.stored.get((index, document)) for document in documents}
        return {document: deepcopy(row) for document, row in found.items() if row}

    async def first(self, index: IndexRef, *, sources: Sequence[str], after: str, limit: int) -> Sequence[Row]:
        rows = [
            row
            for (ref, document), row in self.stored.items()
            if ref == index and document > after and row.desired.source in sources and row.desired.content
        ]
        return deepcopy(sorted(rows, key=lambda row: row.desired.document)[:limit])

    async def counts(self, indexes: Sequence[IndexRef]) -> Mapping[IndexRef, Counts]:
        return {index: self._counts(index) for index in indexes}

    async def count(self, index: IndexRef) -> Counts:
        self.counted.append(index)
        return self._counts(index)

    def _is_large(self, row: Row) -> bool:
        return row.desired.content is not None and row.desired.content.size > self.large_bytes

    def _counts(self, index: IndexRef) -> Counts:
        rows = [row for (ref, _), row in self.stored.items() if ref == index]
        present = [row for row in rows if row.desired.content]
        return Counts(
            desired=len(present),
            indexed=sum(row.indexed_seq == row.desired.seq and not row.pending for row in present),
            failed=sum(bool(row.failure) for row in present),
            chunks=sum(row.chunks for row in present),
            pending=sum(row.pending for row in rows),
        )

    async def indexed(self, index: IndexRef) -> AsyncIterator[Sequence[Row]]:
        rows = [row for (ref, _), row in self.stored.items() if ref == index and row.desired.content]
        for row in rows:
            if not row.pending and not row.failure:
                self.read_pages += 1
                yield [deepcopy(row)]

    async def reset(self, index: IndexRef, documents: Sequence[str], *, epoch: int) -> None:
        for document in documents:
            place = index, document
            row = self.stored.get(place)
            if row and row.desired.content and not row.pending and not row.failure and self.epochs[place] <= epoch:
                self.stored[place] = replace(row, again=True, attempts=0)
                self.epochs[place] = epoch

    async def drop(self, index: IndexRef) -> None:
        for place in [place for place in self.stored if place[0] == index]:
            del self.stored[place]


class InMemoryVectors:
    """Does what the Qdrant adapters do: all pass tests/adapters/test_vector_stores.py."""

    durable = False

    def __init__(self) -> None:
        self.points: dict[str, dict[str, Point]] = {}
        self.sparse: set[str] = set()
        """Indexes with sparse vectors."""
        self.down = False

    async def create(self, index: str, *, dimensions: int, sparse: bool = False) -> None:
        assert dimensions
        if index not in self.points and sparse:
            self.sparse.add(index)
        self.points.setdefault(index, {})

    async def drop(self, index: str) -> None:
        self.points.pop(index, None)

    async def upsert(self, index: str, points: Sequence[Point]) -> None:
        if self.down:
            message = "the vector store is down"
            raise DependencyUnavailable(message, dependency="vectors")
        assert all((point.sparse is not None) == (index in self.sparse) for point in points)
        self.points[index].update({point.id: deepcopy(point) for point in points})

    async def delete(self, index: str, document: str, *, below_seq: int, keep: Sequence[str] = ()) -> None:
        kept = self.points.get(index, {})
        for point in [p for p in kept.values() if p.payload.document == document and p.payload.seq < below_seq]:
            if point.id not in keep:
                del kept[point.id]

    async def purge(self, index: str, document: str) -> bool:
        assert index
        assert document
        return False

    async def search(self, index: str, query: Query, *, limit: int, where: Where) -> Sequence[Match]:
        points = [point for point in self.points.get(index, {}).values() if _passes(point, where)]
        cosines = {point.id: _cosine(query.vector, point.vector) for point in points}
        nearest = sorted(cosines, key=lambda point: -cosines[point])
        if query.is_fused:
            nearest = self._fused(index, query, points, nearest)
        if query.matches_nothing:
            nearest = []
        by_id = {point.id: point for point in points}
        vectors = {point.id: point.vector if query.with_vectors else () for point in points}
        return deepcopy(
            [
                Match(id=each, score=cosines[each], payload=by_id[each].payload, vector=vectors[each])
                for each in nearest[:limit]
            ]
        )

    async def payloads(self, index: str, ids: Sequence[str]) -> Mapping[str, Payload]:
        points = self.points.get(index, {})
        return deepcopy({each: points[each].payload for each in ids if each in points})

    def _fused(self, index: str, query: Query, points: Sequence[Point], nearest: Sequence[str]) -> list[str]:
        scores = _bm25(query, points, of=list(self.points.get(index, {}).values()))
        by_terms = sorted((each for each in scores if scores[each]), key=lambda point: -scores[point])
        rankings = [(query.sparse_weight, by_terms), (query.dense_weight, nearest)]
        fused = dict.fromkeys([*by_terms, *(nearest if query.dense_weight else ())], 0.0)
        for weight, ranked in rankings:
            for rank, each in enumerate(ranked if weight else (), start=1):
                fused[each] += 1 / (rank / weight + RRF_K - 1)
        return sorted(fused, key=lambda point: -fused[point])

    async def get(self, index: str, ids: Sequence[str]) -> Sequence[Point]:
        there = self.points.get(index, {})
        return [replace(there[each], sparse=None) for each in ids if each in there]

    async def ids(self, index: str, documents: Sequence[str]) -> Mapping[str, Sequence[str]]:
        points = self.points.get(index, {}).values()
        found = {each: [p.id for p in points if p.payload.document == each] for each in documents}
        return {document: ids for document, ids in found.items() if ids}

    async def count(self, index: str) -> int:
        return len(self.points.get(index, {}))

    async def ping(self) -> None:
        """Answer always."""

    async def close(self) -> None:
        """Hold nothing."""


def _passes(point: Point, where: Where) -> bool:
    payload = point.payload
    return (
        (not payload.readers or bool({*payload.readers} & {*where.principals}))
        and all(_within(payload.metadata.get(name), span) for name, span in where.ranges.items())
        and (not where.sources or payload.source in where.sources)
        and all(
            any(
                (type(known := payload.metadata.get(name)) is bool) == (type(value) is bool) and known == value
                for value in values
            )
            for name, values in where.metadata.items()
        )
    )


_COMPARED: Mapping[str, Callable[[Any, Any], bool]] = {
    "gte": operator.ge,
    "gt": operator.gt,
    "lte": operator.le,
    "lt": operator.lt,
}


def _within(value: object, span: Range) -> bool:
    if isinstance(value, str) and span.of_times:
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return False
        value = value if value.tzinfo else value.replace(tzinfo=UTC)
    elif span.of_times or type(value) not in {int, float}:
        return False
    return all(_COMPARED[name](value, bound) for name, bound in span.bounds.items())


def _bm25(query: Query, points: Sequence[Point], *, of: Sequence[Point]) -> Mapping[str, float]:
    assert query.sparse
    terms = {
        point.id: dict(zip(point.sparse.indices, point.sparse.values, strict=True)) for point in of if point.sparse
    }
    scores = dict.fromkeys((point.id for point in points), 0.0)
    for term in query.sparse.indices:
        having = sum(term in each for each in terms.values())
        idf = math.log(1 + (len(of) - having + 0.5) / (having + 0.5))
        for point in scores:
            scores[point] += idf * terms[point].get(term, 0.0)
    return scores


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    lengths = math.hypot(*a) * math.hypot(*b)
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0
