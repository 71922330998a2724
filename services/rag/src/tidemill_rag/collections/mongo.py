"""Stored form of collections, and reads of them that callers share."""

from collections.abc import Sequence

from tidemill_core.resources import list_all
from tidemill_kit.mapping import DocumentCodec
from tidemill_kit.store.batching import BatchedByKey
from tidemill_rag.collections.domain.collection import Collection
from tidemill_rag.collections.messages import payload_of
from tidemill_rag.collections.ports import Collections

COLLECTIONS = DocumentCodec(Collection, event=payload_of)


class SharedReads:
    """Implements `ports.CollectionsOf`: who asks while a read is in progress shares the next one with all others."""

    def __init__(self, collections: Collections) -> None:
        self._collections = collections
        self._read = BatchedByKey(self._read_for, max_concurrent=1)

    async def __call__(self, project: str) -> Sequence[Collection]:
        """See `CollectionsOf`."""
        return await self._read(project, None)

    async def _read_for(self, project: str, callers: Sequence[None]) -> Sequence[Sequence[Collection]]:
        found = [collection async for collection in list_all(self._collections, project)]
        return [found] * len(callers)
