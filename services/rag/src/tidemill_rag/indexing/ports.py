"""Ports of indexing: the ledger, and what ingest has."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller, Page
from tidemill_rag.collections.domain.collection import IndexRef
from tidemill_rag.indexing.domain.content import DocumentContent
from tidemill_rag.indexing.domain.ledger import Counts, DesiredDocument, Row


class Ledger(Protocol):
    """Rows by index version and document. Worker writes carry the lease's epoch, which fences off earlier holders."""

    async def upsert_desired(self, index: IndexRef, desired: DesiredDocument) -> bool:
        """Record the desired state unless the row has the same or a higher `seq`; return whether it was recorded."""
        ...

    async def upsert_all_desired(self, index: IndexRef, desired: Sequence[DesiredDocument]) -> None:
        """Bulk `upsert_desired` for a page of distinct documents, most of them new."""
        ...

    async def take(self, index: IndexRef, *, epoch: int, limit: int, large: bool = False) -> Sequence[Row]:
        """Return pending rows, and fence off writes of earlier epochs to them.

        `large` selects large documents, which are returned in a stable order, instead of the others.
        """
        ...

    async def attempt(self, index: IndexRef, rows: Sequence[Row], *, epoch: int, by: int) -> None:
        """Add `by` (1 or -1) to the attempts of each row that is still pending; never below 0."""
        ...

    async def mark_indexed(self, index: IndexRef, row: Row, *, epoch: int, chunks: int, note: str = "") -> bool:
        """Mark the row as indexed; False if its desired state has changed since, or the epoch is not current.

        `note` describes passages that are not searchable.
        """
        ...

    async def fail(self, index: IndexRef, row: Row, *, epoch: int, message: str, final: bool) -> bool:
        """Record a failed attempt; a final one is not retried."""
        ...

    async def rows(self, index: IndexRef, documents: Sequence[str]) -> Mapping[str, Row]:
        """Return the rows of these documents."""
        ...

    async def first(self, index: IndexRef, *, sources: Sequence[str], after: str, limit: int) -> Sequence[Row]:
        """Return rows of documents of some sources that are not deleted, in the order of their ids, after that one."""
        ...

    async def counts(self, indexes: Sequence[IndexRef]) -> Mapping[IndexRef, Counts]:
        """Return the counters of index versions in O(1).

        They may be off by a few after a process crash, until the next `count`.
        """
        ...

    async def count(self, index: IndexRef) -> Counts:
        """Recount all rows, and correct the counters."""
        ...

    def indexed(self, index: IndexRef) -> AsyncIterator[Sequence[Row]]:
        """Yield the rows of all documents that are indexed and not deleted, page by page."""
        ...

    async def reset(self, index: IndexRef, documents: Sequence[str], *, epoch: int) -> None:
        """Set the indexed ones of these documents to pending; their current passages stay searchable."""
        ...

    async def drop(self, index: IndexRef) -> None:
        """Remove all rows."""
        ...


class Catalog(Protocol):
    """ingest's list of documents."""

    async def page(self, caller: Caller, source: str, *, token: str) -> Page[DesiredDocument]:
        """Return the page of a source's documents, including deleted ones, that follows the one with this token.

        Raises:
            InvalidInput: the token has expired.
            DependencyUnavailable: ingest does not respond.

        """
        ...


class Contents(Protocol):
    """ingest's exchange bucket."""

    async def get(self, ref: ObjectRef) -> DocumentContent | None:
        """Return the content, or None if it was erased.

        Raises:
            DocumentUnreadable: the object is not a document version.
            DependencyUnavailable: the object store does not respond.

        """
        ...
