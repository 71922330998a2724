"""Bring one index version to where it should be: seeded, indexed, live, or swept."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum

from tidemill_kit.core.application import Clock, Request
from tidemill_kit.core.errors import InvalidInput, NotFound, TidemillError
from tidemill_rag.application.compare_points import ComparePoints
from tidemill_rag.application.index_documents import IndexDocuments
from tidemill_rag.application.ports import Catalog, Collections, EmbeddingModels, Ledger, VectorStore
from tidemill_rag.domain.collection import Collection, IndexRef, IndexState, IndexVersion

BATCHES_A_TURN = 4
"""Then others have their turn, so that a large build never keeps a small change waiting."""


class Requeue(Enum):
    """When to come back to an index version."""

    WHEN_ENQUEUED = "when woken"
    BATCH_SIZE = "at once"
    LATER = "later"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileIndex:
    """What the holder of an index version's lease does with it. Every step may be repeated.

    Emits IndexWentLive. A collection's first index version goes live as soon as it knows which documents there are,
    and answers from those that are indexed so far; a later one takes over when nothing is missing in it.
    """

    collections: Collections
    ledger: Ledger
    vectors: VectorStore
    catalog: Catalog
    models: EmbeddingModels
    index_documents: IndexDocuments
    compare_points: ComparePoints
    clock: Clock
    sweep_after: timedelta
    """How long a retired index version is kept for the searches that are under way."""
    checked: set[str] = field(default_factory=set)
    """The index versions that this process has checked."""
    suspect: dict[str, int] = field(default_factory=dict)
    """By index version: how many rows seemed to wait when none did."""

    async def __call__(self, ref: IndexRef, *, epoch: int) -> Requeue:
        """Do what there is to do, a turn's share at most; return when to come back.

        Raises:
            DependencyUnavailable: something does not answer; the index version says so too.
            LeaseLost: another process goes on.

        """
        for _ in range(BATCHES_A_TURN):
            collection = await self._collection(ref)
            index = collection.index(ref.number)
            if index is None:
                self._forget(ref)
                return Requeue.WHEN_ENQUEUED
            if not index.receives_updates:
                return Requeue.WHEN_ENQUEUED if await self._sweep(ref, collection, index) else Requeue.LATER
            try:
                if not await self._advance(ref, collection, index, epoch):
                    return Requeue.WHEN_ENQUEUED
            except TidemillError as error:
                await self._record(ref, error.message)
                raise
        return Requeue.BATCH_SIZE

    def _forget(self, ref: IndexRef) -> None:
        """Keep nothing in memory of an index version that is gone."""
        self.checked.discard(ref.key)
        self.suspect.pop(ref.key, None)
        self.index_documents.forget(ref)

    async def _advance(self, ref: IndexRef, collection: Collection, index: IndexVersion, epoch: int) -> bool:
        """Take one step; return whether there may be another."""
        if not index.seeded:
            await self._seed(ref, index)
            return True
        if index.state is IndexState.BUILDING and not collection.live:
            await self._go_live(ref)
            return True
        await self._first_poll(ref, index, epoch)
        waiting = (await self.ledger.counts([ref]))[ref].pending
        worked = await self.index_documents(ref, index, epoch=epoch)
        if index.message:
            await self._record(ref, "")
        if worked:
            return True
        await self._correct_counts(ref, waiting)
        if index.state is IndexState.BUILDING:
            await self._go_live(ref)
            return True
        return False

    async def _collection(self, ref: IndexRef) -> Collection:
        """Return the collection, or what is left of it."""
        fresh = Collection(id=ref.collection, project=ref.project, deleted=True)
        try:
            return await self.collections.get(ref.project, ref.collection)
        except NotFound:
            return await self.collections.upsert(fresh, lambda _: None, request=Request.internal())

    async def _seed(self, ref: IndexRef, index: IndexVersion) -> None:
        """List a page of what is there; its events were received before this began, and the newer of both is kept.

        How far the list is stands in the collection, so that what breaks off goes on there.
        """
        source, token = index.seed_source, index.seed_token
        if not source and not token:
            await self.ledger.count(ref)  # there is next to nothing yet, and from here on the numbers are kept
        try:
            page = await self.catalog.page(ref.project, index.sources[source], token=token)
        except InvalidInput:
            if not token:
                raise
            await self._update(ref, lambda collection: collection.record_seeding(ref.number, source=source, token=""))
            return
        await self.ledger.upsert_all_desired(ref, page.documents)
        if not page.next_token:
            source += 1
        if source == len(index.sources):
            await self._update(ref, lambda collection: collection.record_seeded(ref.number))
            return
        reached = page.next_token
        await self._update(ref, lambda collection: collection.record_seeding(ref.number, source=source, token=reached))

    async def _go_live(self, ref: IndexRef) -> None:
        counts = (await self.ledger.counts([ref]))[ref]
        now = self.clock.now()
        await self._update(ref, lambda collection: collection.go_live(ref.number, documents=counts.desired, now=now))

    async def _first_poll(self, ref: IndexRef, index: IndexVersion, epoch: int) -> None:
        """Once in each process: load the model, so that no question waits for it, and find lost points.

        A store that keeps what it acknowledged is compared only where it has fewer points than the ledger has finished,
        as one that lost its disk has.
        """
        if ref.key in self.checked:
            return
        await self.models.load(ref.project, index.embedding)
        points, kept = await self.vectors.count(ref.key), (await self.ledger.counts([ref]))[ref]
        fewer = points < kept.chunks and points < (await self.ledger.count(ref)).chunks  # what is kept may be wrong
        if (fewer or not self.vectors.durable) and (lost := await self.compare_points(ref, epoch=epoch)):
            await self._record(ref, f"the vector store has lost points of {lost} documents: they are indexed once more")
        self.checked.add(ref.key)

    async def _correct_counts(self, ref: IndexRef, waiting: int) -> None:
        """Count once more where rows seemed to wait, and none did, twice: an event that comes in explains it once."""
        if waiting and self.suspect.get(ref.key) == waiting:
            await self.ledger.count(ref)
            waiting = 0
        if waiting:
            self.suspect[ref.key] = waiting
        else:
            self.suspect.pop(ref.key, None)

    async def _sweep(self, ref: IndexRef, collection: Collection, index: IndexVersion) -> bool:
        """Remove what nobody searches any more; return whether it was time."""
        if index.retire_time and self.clock.now() < index.retire_time + self.sweep_after:
            return False
        self._forget(ref)
        await self.vectors.drop(ref.key)
        await self.ledger.drop(ref)
        await self.collections.upsert(collection, lambda stored: stored.forget(ref.number), request=Request.internal())
        return True

    async def _record(self, ref: IndexRef, message: str) -> None:
        await self._update(ref, lambda collection: collection.note(ref.number, message))

    async def _update(self, ref: IndexRef, change: Callable[[Collection], None]) -> None:
        try:
            await self.collections.update(ref.project, ref.collection, change, request=Request.internal())
        except NotFound:
            return  # deleted meanwhile: the next round sweeps
