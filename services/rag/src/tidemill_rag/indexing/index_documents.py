"""Index pending documents into the vector store, one batch at a time."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Self

from tidemill_core.errors import TRANSIENT, InvalidInput, isolated
from tidemill_rag.collections.domain.collection import IndexRef
from tidemill_rag.collections.domain.index_version import IndexVersion
from tidemill_rag.embedding.ports import EmbeddingModel, EmbeddingModels, SparseEmbedding
from tidemill_rag.indexing.domain.chunking import Cut
from tidemill_rag.indexing.domain.ledger import DesiredDocument, Row
from tidemill_rag.indexing.domain.places import Places
from tidemill_rag.indexing.points import PassageEmbedding, Prepared, point_ids
from tidemill_rag.indexing.ports import Contents, Ledger
from tidemill_rag.vectors.ports import VectorStore

_MAX_ATTEMPTS = 3
_MAX_CRASHES = 5
"""Attempts after which a document that crashes the process each time is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """Limits of one batch."""

    documents: int = 64
    max_concurrent_fetches: int = 8
    """Documents fetched and chunked at once."""
    chunks: int = 128
    """Chunks that fill a batch; also the most that are embedded and stored together."""
    chunks_together: int = 48
    """Chunks that are embedded together: more would wait for each other, fewer would be padded to other lengths."""
    max_concurrent_stores: int = 2
    """Groups of documents that are embedded and stored at once, so that one is embedded while another is stored."""
    large_chunks: int = 32
    """Chunks of a large document that are embedded and stored together; few, because other documents wait meanwhile."""
    max_concurrent_large: int = 4
    """Partially indexed large documents kept in memory, one per index version."""


@dataclass(slots=True)
class _Started:
    """A partially indexed large document."""

    prepared: Prepared
    stored: int = 0


class _Overlapping:
    """Tasks that run while their block goes on; the block ends when all have, and an error of one ends all of it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, error: type[BaseException] | None, *_: object) -> None:
        try:
            while self._running and error is None:
                await self._one_ends()
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def start(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Start a task, when fewer than the limit run; raise the error of one that failed."""
        while len(self._running) >= self._limit:
            await self._one_ends()
        self._running.add(asyncio.create_task(work()))

    async def _one_ends(self) -> None:
        ended, self._running = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        for error in [task.exception() for task in ended]:
            if error:
                raise error


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexDocuments:
    """Indexes small documents in batches, and large ones in parts between the batches.

    Crash safety: points are upserted first, then the row is marked indexed, then old points are deleted. Point ids are
    derived from the document, `seq` and position, so a retry overwrites. Marking a row requires the current epoch and
    an unchanged desired state.
    """

    ledger: Ledger
    contents: Contents
    models: EmbeddingModels
    sparse: SparseEmbedding
    vectors: VectorStore
    limits: BatchLimits
    _started: OrderedDict[str, _Started] = field(default_factory=OrderedDict)
    """By index version."""
    _left: dict[str, tuple[DesiredDocument, int]] = field(default_factory=dict)
    """By index version: the document that was evicted from memory, and how many of its chunks are stored."""

    async def __call__(self, ref: IndexRef, index: IndexVersion, *, epoch: int) -> int:
        """Process one batch; return the number of rows read, 0 if none is pending.

        Raises:
            DependencyUnavailable: a dependency does not respond; finished documents stay indexed.

        """
        rows = await self.ledger.take(ref, epoch=epoch, limit=self.limits.documents)
        large = await self.ledger.take(ref, epoch=epoch, limit=1, large=True)
        for row in rows:
            if row.desired.content is None:
                await self._remove(ref, row, epoch)
        present = [row for row in rows if row.desired.content]
        if present or large:
            model = await self.models.load(ref.caller, index.embedding, quantized=index.quantized)
            await self.vectors.create(ref.key, dimensions=model.dimensions, sparse=index.sparse.used)
            embedding = PassageEmbedding(model=model, sparse=self.sparse, analysis=index.sparse)
            await self._index(ref, index, present, embedding, epoch)
            for row in large:
                await self._advance(ref, index, row, embedding, epoch)
        return len(rows) + len(large)

    def forget(self, ref: IndexRef) -> None:
        """Release the memory of a deleted index version."""
        self._started.pop(ref.key, None)
        self._left.pop(ref.key, None)

    async def _index(
        self, ref: IndexRef, index: IndexVersion, rows: Sequence[Row], embedding: PassageEmbedding, epoch: int
    ) -> None:
        """Index previously failed documents one by one, to isolate the faulty one; the others together."""
        for row in (row for row in rows if row.attempts):
            await self._index_together(ref, index, [row], embedding, epoch)
        await self._index_together(ref, index, [row for row in rows if not row.attempts], embedding, epoch)

    async def _index_together(
        self, ref: IndexRef, index: IndexVersion, rows: Sequence[Row], embedding: PassageEmbedding, epoch: int
    ) -> None:
        """Fetch documents until a batch of chunks is full, and store those fetched before meanwhile.

        The remaining rows stay pending.
        """
        cut = _cut(index, embedding.model)
        step = self.limits.max_concurrent_fetches
        ready: list[Prepared] = []
        chunks = 0
        async with AsyncExitStack() as tried, _Overlapping(self.limits.max_concurrent_stores) as storing:
            for begin in range(0, len(rows), step):
                some = rows[begin : begin + step]
                await tried.enter_async_context(self._tried(ref, some, epoch))
                prepared = await asyncio.gather(*(self._prepare(ref, row, embedding, cut, epoch) for row in some))
                ready += [each for each in prepared if each]
                prepared_chunks = sum(len(each.chunks) for each in ready)
                if prepared_chunks >= self.limits.chunks_together:
                    await storing.start(partial(self._store, ref, ready, embedding, epoch))
                    ready, chunks = [], chunks + prepared_chunks
                if chunks >= self.limits.chunks:
                    break
            await storing.start(partial(self._store, ref, ready, embedding, epoch))

    @asynccontextmanager
    async def _tried(self, ref: IndexRef, rows: Sequence[Row], epoch: int) -> AsyncIterator[None]:
        """Count an attempt before it starts, since it may crash the process; undo the count on any exception."""
        await self.ledger.attempt(ref, rows, epoch=epoch, by=1)
        try:
            yield
        except BaseException:
            with suppress(*TRANSIENT):
                await self.ledger.attempt(ref, rows, epoch=epoch, by=-1)
            raise

    async def _advance(
        self, ref: IndexRef, index: IndexVersion, row: Row, embedding: PassageEmbedding, epoch: int
    ) -> None:
        """Index the next part of a large document; each part counts as an attempt of its own."""
        async with self._tried(ref, [row], epoch):
            goes_on = await self._store_next(ref, row, embedding, _cut(index, embedding.model), epoch)
        if goes_on:
            await self.ledger.attempt(ref, [row], epoch=epoch, by=-1)

    async def _store_next(self, ref: IndexRef, row: Row, embedding: PassageEmbedding, cut: Cut, epoch: int) -> bool:
        """Store the next chunks, and mark the document indexed after the last ones; return whether there are more."""
        started = self._started.pop(ref.key, None)
        if started is None or started.prepared.row.desired != row.desired:
            prepared = await self._prepare(ref, row, embedding, cut, epoch)
            if prepared is None:
                return False
            desired, stored = self._left.pop(ref.key, (None, 0))
            started = _Started(prepared, stored if desired == row.desired else 0)
        self._keep(ref, started)
        document = started.prepared
        part = document.chunks[started.stored : started.stored + self.limits.large_chunks]
        try:
            with isolated():
                points = await embedding.points(ref, [(document, piece) for piece in part])
        except TRANSIENT:
            raise
        except Exception as error:  # noqa: BLE001 - see `_prepare`
            del self._started[ref.key]
            await self._broken(ref, row, epoch, during="embedding", error=error)
            return False
        await self.vectors.upsert(ref.key, points)
        started.stored += len(part)
        if started.stored < len(document.chunks):
            return True
        del self._started[ref.key]
        await self._finish(ref, document, epoch)
        return False

    def _keep(self, ref: IndexRef, started: _Started) -> None:
        """Keep a document in memory for its next part; evict the oldest one above the limit, keeping its progress."""
        self._started[ref.key] = started
        if len(self._started) > self.limits.max_concurrent_large:
            key, given_up = self._started.popitem(last=False)
            self._left[key] = given_up.prepared.row.desired, given_up.stored

    async def _prepare(
        self, ref: IndexRef, row: Row, embedding: PassageEmbedding, cut: Cut, epoch: int
    ) -> Prepared | None:
        """Fetch and chunk one document; its errors fail this document only."""
        assert row.desired.content is not None  # noqa: S101 - the caller took those without content out
        if row.attempts >= _MAX_CRASHES:
            message = f"indexing the document crashed the process {row.attempts} times"
            await self.ledger.fail(ref, row, epoch=epoch, message=message, final=True)
            return None
        try:
            with isolated():
                content = await self.contents.get(row.desired.content)
                if content is None:
                    await self._remove(ref, row, epoch)
                    return None
                chunks, unknown = await embedding.model.cut(ref.project, content, cut)
        except TRANSIENT:
            raise
        except InvalidInput as error:
            await self.ledger.fail(ref, row, epoch=epoch, message=error.message, final=True)
            return None
        except Exception as error:  # noqa: BLE001 - a faulty document must not block the others
            await self._broken(ref, row, epoch, during="chunking", error=error)
            return None
        return Prepared(row, content, chunks, Places(content.anchors), unknown)

    async def _broken(self, ref: IndexRef, row: Row, epoch: int, *, during: str, error: Exception) -> None:
        """Record an unexpected error; the document is retried a few times."""
        final = row.attempts + 1 >= _MAX_ATTEMPTS
        message = f"{type(error).__name__} during {during}, attempt {row.attempts + 1}"
        await self.ledger.fail(ref, row, epoch=epoch, message=message, final=final)

    async def _store(self, ref: IndexRef, ready: Sequence[Prepared], embedding: PassageEmbedding, epoch: int) -> None:
        """Embed the chunks of all documents together, small ones first; mark each document after its last chunk."""
        ordered = sorted(ready, key=lambda each: len(each.chunks))
        todo = [(document, piece) for document in ordered for piece in document.chunks]
        left = {id(document): len(document.chunks) for document in ordered}
        await self._finish_all(ref, [document for document in ordered if not document.chunks], epoch)
        for begin in range(0, len(todo), self.limits.chunks):
            part = todo[begin : begin + self.limits.chunks]
            try:
                with isolated():
                    points = await embedding.points(ref, part)
            except TRANSIENT:
                raise
            except Exception as error:  # noqa: BLE001 - see `_prepare`
                await self._store_apart(ref, ready, embedding, epoch, error=error)
                return
            await self.vectors.upsert(ref.key, points)
            finished = []
            for document, _ in part:
                left[id(document)] -= 1
                if not left[id(document)]:
                    finished.append(document)
            await self._finish_all(ref, finished, epoch)

    async def _store_apart(
        self, ref: IndexRef, ready: Sequence[Prepared], embedding: PassageEmbedding, epoch: int, *, error: Exception
    ) -> None:
        """Store each document separately, to isolate the faulty one; storing a point twice is harmless."""
        if len(ready) == 1:
            await self._broken(ref, ready[0].row, epoch, during="embedding", error=error)
            return
        for document in ready:
            await self._store(ref, [document], embedding, epoch)

    async def _finish_all(self, ref: IndexRef, documents: Sequence[Prepared], epoch: int) -> None:
        """Finish all at once, so that the stores write them together: a batch has few documents."""
        await asyncio.gather(*(self._finish(ref, each, epoch) for each in documents))

    async def _finish(self, ref: IndexRef, document: Prepared, epoch: int) -> None:
        row, chunks = document.row, len(document.chunks)
        if await self.ledger.mark_indexed(ref, row, epoch=epoch, chunks=chunks, note=_remark_of(document)):
            desired, keep = row.desired, point_ids(ref, row.desired, chunks)
            await self.vectors.delete(ref.key, desired.document, below_seq=desired.seq + 1, keep=keep)

    async def _remove(self, ref: IndexRef, row: Row, epoch: int) -> None:
        if await self.ledger.mark_indexed(ref, row, epoch=epoch, chunks=0):
            await self.vectors.delete(ref.key, row.desired.document, below_seq=row.desired.seq + 1)


def _remark_of(document: Prepared) -> str:
    if not document.unknown:
        return ""
    total = document.unknown + len(document.chunks)
    return (
        f"{document.unknown} of {total} passages are not searchable: the embedding model's vocabulary lacks their"
        " script or words; use another model"
    )


def _cut(index: IndexVersion, model: EmbeddingModel) -> Cut:
    return Cut(
        max_tokens=min(index.chunking.max_tokens, model.max_tokens),
        overlap_tokens=index.chunking.overlap_tokens,
        special=model.special_tokens,
        by=index.chunking.by,
    )
