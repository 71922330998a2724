"""Reconcile the passages of an index version, or of several: seed, index, go live or wait, or delete."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from tidemill_core.application import Clock, Request, Requeue
from tidemill_core.errors import InvalidInput, NotFound, TidemillError
from tidemill_rag.collections.domain.collection import Collection, IndexRef, Keep
from tidemill_rag.collections.domain.index_version import IndexState, IndexVersion
from tidemill_rag.collections.ports import Collections
from tidemill_rag.embedding.ports import EmbeddingModels
from tidemill_rag.indexing.compare_points import ComparePoints
from tidemill_rag.indexing.index_documents import IndexDocuments
from tidemill_rag.indexing.ports import Catalog, Ledger
from tidemill_rag.vectors.ports import VectorStore

BATCHES_A_TURN = 4
"""Batches per reconcile; then other index versions are processed, so a large build does not block a small change."""
AT_ONCE = Requeue(after=timedelta(0))
RECHECK = Requeue(after=timedelta(seconds=1))
"""After a crash the counters may say that rows are pending where none is: a second look corrects them, or an event has
come in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileIndex:
    """Reconciles an index version while its lease is held. Every step is idempotent.

    Emits IndexWentLive, IndexBecameReady and IndexRetired. The first index version of a collection goes live once its
    documents are listed, and serves those that are indexed so far; a later one goes live, or is READY, when all of its
    documents are indexed.
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
    """How long a retired index version is kept for searches in flight."""
    keep: Keep
    checked: set[str] = field(default_factory=set)
    """Index versions whose points this process has compared with the ledger."""
    suspect: dict[str, int] = field(default_factory=dict)
    """By index version: the pending count of the last reconcile that found no pending row."""

    async def __call__(self, ref: IndexRef, *, epoch: int) -> Requeue | None:
        """Process up to `BATCHES_A_TURN` steps; return when to reconcile again, None if only an event can need it.

        Raises:
            DependencyUnavailable: a dependency does not respond; the index version's message names it.
            LeaseLost: another worker holds the lease.

        """
        for _ in range(BATCHES_A_TURN):
            collection = await self._collection(ref)
            searching = collection.searching(ref)
            if not searching:
                self._forget(ref)
                return None
            index = searching[0]
            if not index.receives_updates:
                return await self._sweep(ref, collection, index)
            if any(each.expired(self.clock.now()) for each in searching):
                await self._expire(ref)
                continue
            try:
                if not await self._advance(ref, collection, index, epoch):
                    return RECHECK if ref.key in self.suspect else self._expiry(searching)
            except TidemillError as error:
                await self._record(ref, error.message)
                raise
        return AT_ONCE

    def _forget(self, ref: IndexRef) -> None:
        """Release the memory of a deleted index version."""
        self.checked.discard(ref.key)
        self.suspect.pop(ref.key, None)
        self.index_documents.forget(ref)

    async def _advance(self, ref: IndexRef, collection: Collection, index: IndexVersion, epoch: int) -> bool:
        """Process one step; return whether there may be another."""
        if not index.seeded:
            await self._seed(ref, index)
            return True
        if index.state is IndexState.BUILDING and not collection.live:
            await self._complete(ref, index)
            return True
        if index.quantized is None:
            model = await self.models.load(ref.caller, index.embedding)
            await self._update(ref, lambda each: each.record_form(ref, quantized=model.quantized))
            return True
        await self._check_points(ref, index, epoch)
        waiting = (await self.ledger.counts([ref]))[ref].pending
        worked = await self.index_documents(ref, index, epoch=epoch)
        if index.message:
            await self._record(ref, "")
        if worked:
            return True
        await self._correct_counts(ref, waiting)
        if index.state is IndexState.BUILDING:
            await self._complete(ref, index)
            return True
        return False

    async def _expire(self, ref: IndexRef) -> None:
        now = self.clock.now()

        def expire(collection: Collection) -> None:
            for index in collection.searching(ref):
                collection.expire(index.number, now=now)

        await self._update(ref, expire)

    def _expiry(self, searching: Sequence[IndexVersion]) -> Requeue | None:
        """Return when the first replaced index version has to be retired."""
        ends = [index.expire_time for index in searching if index.expire_time]
        return Requeue(after=min(ends) - self.clock.now()) if ends else None

    async def _collection(self, ref: IndexRef) -> Collection:
        """Return the collection, or its tombstone."""
        fresh = Collection(id=ref.collection, project=ref.project, deleted=True)
        try:
            return await self.collections.get(ref.project, ref.collection)
        except NotFound:
            return await self.collections.upsert(fresh, lambda _: None, request=Request.internal())

    async def _seed(self, ref: IndexRef, index: IndexVersion) -> None:
        """List one page of a source. Events are consumed since the index version was created; the higher `seq` wins.

        The page token is stored in the collection, so an interrupted listing resumes.
        """
        source, token = index.seed_source, index.seed_token
        if not source and not token:
            await self.ledger.count(ref)  # cheap while the ledger is small; creates the counters
        try:
            page = await self.catalog.page(ref.caller, index.sources[source], token=token)
        except InvalidInput:
            if not token:
                raise
            await self._update(ref, lambda collection: collection.record_seeding(ref.number, source=source, token=""))
            return
        await self.ledger.upsert_all_desired(ref, page.items)
        if not page.next_token:
            source += 1
        if source == len(index.sources):
            await self._update(ref, lambda collection: collection.record_seeded(ref.number))
            return
        reached = page.next_token
        await self._update(ref, lambda collection: collection.record_seeding(ref.number, source=source, token=reached))

    async def _complete(self, ref: IndexRef, index: IndexVersion) -> None:
        documents, now = (await self.ledger.counts([ref]))[ref].desired, self.clock.now()
        await self._update(
            ref, lambda collection: collection.complete(index.number, documents=documents, keep=self.keep, now=now)
        )

    async def _check_points(self, ref: IndexRef, index: IndexVersion, epoch: int) -> None:
        """Once per process: preload the model for searches, and find lost points.

        A durable store is compared only if it has fewer points than the ledger, for example after losing its disk.
        """
        if ref.key in self.checked:
            return
        await self.models.load(ref.caller, index.embedding, quantized=index.quantized)
        points, kept = await self.vectors.count(ref.key), (await self.ledger.counts([ref]))[ref]
        fewer = points < kept.chunks and points < (await self.ledger.count(ref)).chunks  # counters may be off
        if (fewer or not self.vectors.durable) and (lost := await self.compare_points(ref, epoch=epoch)):
            await self._record(ref, f"the vector store lost points of {lost} documents: indexing them again")
        self.checked.add(ref.key)

    async def _correct_counts(self, ref: IndexRef, waiting: int) -> None:
        """Recount if the pending count was wrong twice in a row; once may be an event that arrived in between."""
        if waiting and self.suspect.get(ref.key) == waiting:
            await self.ledger.count(ref)
            waiting = 0
        if waiting:
            self.suspect[ref.key] = waiting
        else:
            self.suspect.pop(ref.key, None)

    async def _sweep(self, ref: IndexRef, collection: Collection, index: IndexVersion) -> Requeue | None:
        """Delete a retired index version, once `sweep_after` has passed."""
        early = index.retire_time + self.sweep_after - self.clock.now() if index.retire_time else timedelta(0)
        if early > timedelta(0):
            return Requeue(after=early)
        self._forget(ref)
        await self.vectors.drop(ref.key)
        await self.ledger.drop(ref)
        await self.collections.upsert(collection, lambda stored: stored.forget(ref), request=Request.internal())
        return None

    async def _record(self, ref: IndexRef, message: str) -> None:
        await self._update(ref, lambda collection: collection.record_message(ref, message))

    async def _update(self, ref: IndexRef, change: Callable[[Collection], None]) -> None:
        try:
            await self.collections.update(ref.project, ref.collection, change, request=Request.internal())
        except NotFound:
            return  # deleted meanwhile: the next reconcile cleans up
