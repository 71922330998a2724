"""Vectors in Qdrant's embedded engine: one folder an index, one process a folder.

The engine is synchronous; it is called from threads of its own. Updates go to its write-ahead log, which survives the
death of the process.
"""

import asyncio
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from qdrant_edge import (
    CountRequest,
    Distance,
    EdgeConfig,
    EdgeShard,
    EdgeVectorParams,
    FieldCondition,
    Filter,
    IsEmptyCondition,
    MatchAny,
    MatchValue,
    Query,
    RangeFloat,
    SearchRequest,
    UpdateOperation,
)
from qdrant_edge import Point as EdgePoint

from tidemill_kit.application import derived_id
from tidemill_kit.errors import DependencyUnavailable
from tidemill_rag.adapters.point_payloads import DOCUMENT, FACETS, READERS, SEQ, SOURCE, facet, from_stored, to_stored
from tidemill_rag.application.vector_store import Match, Point, Where

T = TypeVar("T")

THREADS = 2
OPTIMIZE_EVERY = 5000
"""Points between two runs of the optimizer, which merges segments and builds the graph of large ones."""


class QdrantEdgeVectors:
    """Implements `VectorStore` on a folder that belongs to this process alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shards: dict[str, EdgeShard] = {}
        self._unoptimized: dict[str, int] = {}
        self._opening = threading.Lock()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="qdrant-edge")

    async def create(self, index: str, *, dimensions: int) -> None:
        """See `VectorStore.create`."""
        await self._run(lambda: self._open(index, dimensions))

    async def drop(self, index: str) -> None:
        """See `VectorStore.drop`."""
        await self._run(lambda: self._drop(index))

    async def upsert(self, index: str, points: Sequence[Point]) -> None:
        """See `VectorStore.upsert`."""
        if points:
            await self._run(lambda: self._upsert(index, points))

    async def delete(self, index: str, document: str, *, below_seq: int) -> None:
        """See `VectorStore.delete`."""
        older = FieldCondition(SEQ, range=RangeFloat(lt=below_seq))
        chosen = Filter(must=[FieldCondition(DOCUMENT, match=MatchValue(document)), older])

        def work() -> None:
            if shard := self._open(index):
                shard.update(UpdateOperation.delete_points_by_filter(chosen))

        await self._run(work)

    async def search(self, index: str, vector: Sequence[float], *, limit: int, where: Where) -> Sequence[Match]:
        """See `VectorStore.search`."""
        request = SearchRequest(Query.Nearest(list(vector)), limit, filter=_filter(where), with_payload=True)

        def work() -> Sequence[Match]:
            shard = self._open(index)
            found = shard.search(request) if shard else []
            return [Match(id=str(p.id), score=p.score, payload=from_stored(p.payload or {})) for p in found]

        return await self._run(work)

    async def count(self, index: str) -> int:
        """See `VectorStore.count`."""

        def work() -> int:
            shard = self._open(index)
            return shard.count(CountRequest(exact=True)) if shard else 0

        return await self._run(work)

    async def ping(self) -> None:
        """See `VectorStore.ping`."""
        await self._run(lambda: self._folder.mkdir(parents=True, exist_ok=True))

    async def close(self) -> None:
        """See `VectorStore.close`."""

        def work() -> None:
            for shard in self._shards.values():
                shard.flush()
                shard.close()
            self._shards.clear()

        await self._run(work)
        self._threads.shutdown()

    def _path(self, index: str) -> Path:
        """Return an index's folder; its name says nothing, so that any index name is safe."""
        return self._folder / derived_id(index)

    def _open(self, index: str, dimensions: int | None = None) -> EdgeShard | None:
        """Return the shard of an index, or None where there is none and no dimensions are given to make it."""
        with self._opening:
            if index not in self._shards:
                path = self._path(index)
                if path.exists():
                    self._shards[index] = EdgeShard.load(str(path))
                elif dimensions is not None:
                    self._shards[index] = _created(path, dimensions)
            return self._shards.get(index)

    def _drop(self, index: str) -> None:
        with self._opening:
            if shard := self._shards.pop(index, None):
                shard.close()
            shutil.rmtree(self._path(index), ignore_errors=True)

    def _upsert(self, index: str, points: Sequence[Point]) -> None:
        shard = self._open(index)
        if shard is None:
            message = f"there is no index {index}: create it first"
            raise DependencyUnavailable(message, dependency="vectors")
        stored = [EdgePoint(point.id, list(point.vector), to_stored(point.payload)) for point in points]
        shard.update(UpdateOperation.upsert_points(stored))
        self._unoptimized[index] = self._unoptimized.get(index, 0) + len(points)
        if self._unoptimized[index] >= OPTIMIZE_EVERY:
            shard.optimize()
            self._unoptimized[index] = 0

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except OSError as error:
            message = f"the vector store's folder cannot be used: {error.strerror}"
            raise DependencyUnavailable(message, dependency="vectors") from error


def _created(path: Path, dimensions: int) -> EdgeShard:
    """Make a shard beside its place and move it there, so that a half-made one is never opened."""
    fresh = path.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.parent.mkdir(parents=True, exist_ok=True)
    config = EdgeConfig(vectors=EdgeVectorParams(size=dimensions, distance=Distance.Cosine))
    shard = EdgeShard.create(str(fresh), config)
    shard.flush()
    shard.close()
    fresh.rename(path)
    return EdgeShard.load(str(path))


def _filter(where: Where) -> Filter:
    open_to_all = IsEmptyCondition(READERS)
    readable: list[IsEmptyCondition | FieldCondition] = [open_to_all]
    if where.principals:
        readable.append(FieldCondition(READERS, match=MatchAny(list(where.principals))))
    must: list[FieldCondition | Filter] = [Filter(should=list(readable))]
    if where.sources:
        must.append(FieldCondition(SOURCE, match=MatchAny(list(where.sources))))
    for name, values in where.metadata.items():
        must.append(FieldCondition(FACETS, match=MatchAny([facet(name, value) for value in values])))
    return Filter(must=list(must))
