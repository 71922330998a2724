"""Vectors in Qdrant's embedded engine: one directory per index, opened by a child process only."""

import asyncio
import multiprocessing
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import TypeVar

from tidemill_core.application import derived_id
from tidemill_core.errors import DependencyUnavailable, isolated
from tidemill_kit.store.batching import Batched
from tidemill_rag.vectors import edge_graphs, edge_search, edge_shards
from tidemill_rag.vectors.edge_graphs import BuildGone
from tidemill_rag.vectors.payloads import facet, from_stored, to_stored
from tidemill_rag.vectors.ports import Match, Payload, Point, Query, Where

T = TypeVar("T")


class QdrantEdgeVectors:
    """Implements `VectorStore` on a directory that only this service process uses.

    The child processes calls one at a time; the next call restarts a child that died.
    """

    durable = False

    def __init__(self, folder: Path, *, max_open: int = 100) -> None:
        self.folder = folder
        self._max_open = max_open
        self._indexes: dict[str, str] = {}
        """The index by the name of its shard."""
        self._pool: ProcessPoolExecutor | None = None
        self.copying = asyncio.Lock()
        """Held by what copies a shard: one at a time."""
        self._deletes = Batched(self._delete_all)

    async def create(self, index: str, *, dimensions: int, sparse: bool = False) -> None:
        """See `VectorStore.create`."""
        await self.call(partial(edge_shards.create, self._name(index), dimensions, sparse=sparse))

    async def drop(self, index: str) -> None:
        """See `VectorStore.drop`."""
        await self.call(partial(edge_shards.drop, derived_id(index)))
        self._indexes.pop(derived_id(index), None)

    async def upsert(self, index: str, points: Sequence[Point]) -> None:
        """See `VectorStore.upsert`."""
        if points:
            stored = [(point.id, list(point.vector), point.sparse, to_stored(point.payload)) for point in points]
            await self.call(partial(edge_shards.upsert, self._name(index), stored))

    async def delete(self, index: str, document: str, *, below_seq: int, keep: Sequence[str] = ()) -> None:
        """See `VectorStore.delete`. What is deleted at the same time is one call."""
        if failed := await self._deletes((self._name(index), document, below_seq, list(keep))):
            message = f"a shard of the vector store in {self.folder} cannot be used ({failed}): is it damaged?"
            raise DependencyUnavailable(message, dependency="vectors")

    async def _delete_all(self, deletes: Sequence[edge_shards.Delete]) -> Sequence[str]:
        return await self.call(partial(edge_shards.delete_all, list(deletes)))

    async def purge(self, index: str, document: str) -> bool:
        """See `VectorStore.purge`. An index with a graph loses it, and it is built again in the background."""
        name = self._name(index)
        if not await self.call(partial(edge_shards.traces, name, document)):
            return False
        async with self.copying:
            try:
                if await self.call(partial(edge_shards.count, name)):
                    await self._rewrite(name)
                else:
                    await self.call(partial(edge_shards.drop, name))
            except BuildGone as error:
                message = f"the index version changed while it was rewritten ({error}): try again"
                raise DependencyUnavailable(message, dependency="vectors") from error
            finally:
                if left := await self.call(edge_graphs.discard):
                    await asyncio.to_thread(shutil.rmtree, left, ignore_errors=True)
        return True

    async def _rewrite(self, name: str) -> None:
        """Copy what is there into new files, in calls of some milliseconds each, and use these."""
        await self.call(partial(edge_graphs.begin, name))
        while await self.call(partial(edge_graphs.copy, name)):
            pass
        while await self.call(partial(edge_graphs.catch_up, name)) > edge_graphs.SLICE:
            pass
        await self.call(partial(edge_graphs.flush, name))
        await self.call(partial(edge_graphs.swap, name))

    async def search(self, index: str, query: Query, *, limit: int, where: Where) -> Sequence[Match]:
        """See `VectorStore.search`."""
        narrowed = edge_search.Narrowed(
            facets=[[facet(name, value) for value in values] for name, values in where.metadata.items()],
            ranges=dict(where.ranges),
            sources=list(where.sources),
            principals=list(where.principals),
        )
        found = await self.call(partial(edge_search.search, self._name(index), query, limit, narrowed))
        return [
            Match(id=point, score=score, payload=from_stored(stored), vector=vector)
            for point, score, stored, vector in found
        ]

    async def payloads(self, index: str, ids: Sequence[str]) -> Mapping[str, Payload]:
        """See `VectorStore.payloads`."""
        found = await self.call(partial(edge_search.payloads, self._name(index), list(ids)))
        return {point: from_stored(stored) for point, stored in found}

    async def get(self, index: str, ids: Sequence[str]) -> Sequence[Point]:
        """See `VectorStore.get`."""
        found = await self.call(partial(edge_search.points, self._name(index), list(ids)))
        return [Point(id=point, vector=vector, payload=from_stored(stored)) for point, vector, stored in found]

    async def ids(self, index: str, documents: Sequence[str]) -> Mapping[str, Collection[str]]:
        """See `VectorStore.ids`."""
        return await self.call(partial(edge_shards.ids, self._name(index), list(documents)))

    async def count(self, index: str) -> int:
        """See `VectorStore.count`."""
        return await self.call(partial(edge_shards.count, self._name(index)))

    async def ping(self) -> None:
        """See `VectorStore.ping`."""
        await self.call(edge_shards.ping)

    async def close(self) -> None:
        """See `VectorStore.close`."""
        if self._pool is not None:
            await self.call(edge_shards.close)
            pool, self._pool = self._pool, None
            await asyncio.to_thread(pool.shutdown)

    def index_of(self, name: str) -> str:
        """Return the index of a shard; its name, if it was dropped."""
        return self._indexes.get(name, name)

    async def call(self, work: Callable[[], T]) -> T:
        """Run a function of the child process there.

        Raises:
            DependencyUnavailable: it failed; the next call restarts a child that died.

        """
        pool = self._pool = self._pool or self._started()
        try:
            with isolated():
                return await asyncio.get_running_loop().run_in_executor(pool, work)
        except BrokenProcessPool as error:
            if self._pool is pool:
                self._pool = None
            message = "the vector store process died and is being restarted: try again"
            raise DependencyUnavailable(message, dependency="vectors") from error
        except BuildGone:
            raise
        except Exception as error:
            # The engine raises plain Exception for everything: a full disk, a directory opened by another process.
            message = f"the vector store in {self.folder} cannot be used ({error}): is it open in another process?"
            raise DependencyUnavailable(message, dependency="vectors") from error

    def _started(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            max_workers=1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=edge_shards.begin,
            initargs=(self.folder, self._max_open),
        )

    def _name(self, index: str) -> str:
        """Return the name of an index's folder; it says nothing, so that any index name is safe."""
        name = derived_id(index)
        self._indexes[name] = index
        return name
