"""Erase the passages of all collections of a project."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Request
from tidemill_core.errors import NotFound
from tidemill_core.resources import list_all
from tidemill_rag.collections.domain.collection import Collection, IndexRef
from tidemill_rag.collections.ports import Collections, IndexLeases
from tidemill_rag.errors import IndexBusy
from tidemill_rag.indexing.ports import Ledger
from tidemill_rag.vectors.ports import VectorStore


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseProject:
    """Deletes the vectors and the ledger of every index version, while no worker indexes into it. Idempotent.

    Each collection is deleted first, so that no worker begins again. The collections themselves stay, as tombstones:
    they name what may still be there.
    """

    collections: Collections
    ledger: Ledger
    vectors: VectorStore
    leases: IndexLeases
    clock: Clock

    async def __call__(self, caller: Caller) -> int:
        """Return how many passages were there; 0 when nothing is left.

        Raises:
            IndexBusy: a worker has not finished with an index version yet.

        """
        erased = 0
        async for collection in list_all(self.collections, caller.project, show_deleted=True):
            deleted = await self._deleted(collection)
            for ref in deleted.refs:
                erased += await self._drop(ref)
        return erased

    async def _deleted(self, collection: Collection) -> Collection:
        if collection.deleted:
            return collection
        try:
            return await self.collections.update(
                collection.project,
                collection.id,
                lambda stored: stored.delete(now=self.clock.now()),
                request=Request.internal(),
            )
        except NotFound:  # deleted meanwhile: the next call finds it so
            return collection

    async def _drop(self, ref: IndexRef) -> int:
        async with self.leases.held(ref.key) as lease:
            if lease is None:
                raise IndexBusy(ref.collection, ref.number)
            passages = await self.vectors.count(ref.key)
            await self.vectors.drop(ref.key)
            await self.ledger.drop(ref)
            return passages
