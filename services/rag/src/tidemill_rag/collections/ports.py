"""Ports of collections."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from tidemill_core.application import Aggregates, PageRequest
from tidemill_rag.collections.domain.collection import Collection, IndexRef
from tidemill_rag.errors import CollectionNotFound

Collections = Aggregates[Collection]
Enqueue = Callable[[IndexRef], None]
"""Enqueues an index version for reconciliation."""


class CollectionsOf(Protocol):
    """Reads the collections of a project for several callers at once."""

    async def __call__(self, project: str) -> Sequence[Collection]:
        """Return all that are not deleted, as a read finds them that begins after this call; change none of them."""
        ...


class IndexLeases(Protocol):
    """The leases that workers index under: the holder alone changes vectors and ledger."""

    def held(self, job_id: str) -> AbstractAsyncContextManager[object | None]:
        """Hold the lease while the body runs; yields None if a worker holds it."""
        ...


async def found(collections: Collections, project: str, collection_id: str) -> Collection:
    """Return a collection; the error lists the existing ones.

    Raises:
        CollectionNotFound: the project has none with this id.

    """
    try:
        return await collections.get(project, collection_id)
    except CollectionNotFound as error:
        page = await collections.list(project, page=PageRequest(size=20))
        raise CollectionNotFound(collection_id, existing=[each.id for each in page.items]) from error
