"""Queries: collections with the counters of their index versions, and the indexing status of a document."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidemill_core.application import Caller, Page, PageRequest
from tidemill_rag.application.ports import Collections, Ledger
from tidemill_rag.domain.collection import Collection
from tidemill_rag.domain.errors import CollectionNotFound
from tidemill_rag.domain.ledger import Counts, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A collection, and the counters of its index versions."""

    collection: Collection
    counts: Mapping[int, Counts]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadCollections:
    """Read-only."""

    collections: Collections
    ledger: Ledger

    async def get(self, caller: Caller, collection_id: str) -> Overview:
        """Return one collection.

        Raises:
            CollectionNotFound: the caller's project has none with this id; the error names those that exist.

        """
        return await self.overview(await found(self.collections, caller.project, collection_id))

    async def list(self, caller: Caller, page: PageRequest) -> Page[Overview]:
        """Return a page, oldest first."""
        shown = await self.collections.list(caller.project, page=page)
        return Page(items=await self._overviews(shown.items), next_token=shown.next_token)

    async def overview(self, collection: Collection) -> Overview:
        """Return a collection with its counters."""
        [overview] = await self._overviews([collection])
        return overview

    async def _overviews(self, collections: Sequence[Collection]) -> Sequence[Overview]:
        counts = await self.ledger.counts([each.ref(index.number) for each in collections for index in each.indexes])
        return [
            Overview(collection=each, counts={index.number: counts[each.ref(index.number)] for index in each.indexes})
            for each in collections
        ]

    async def document(self, caller: Caller, collection_id: str, document: str) -> Sequence[tuple[int, Row]]:
        """Return the indexing status of a document in each index version that has it.

        Raises:
            CollectionNotFound: the caller's project has none with this id.

        """
        collection = await found(self.collections, caller.project, collection_id)
        standing = []
        for index in collection.indexes:
            rows = await self.ledger.rows(collection.ref(index.number), [document])
            if row := rows.get(document):
                standing.append((index.number, row))
        return standing


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
