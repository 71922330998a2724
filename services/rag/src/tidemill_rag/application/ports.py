"""The ports of rag: what its use cases require from storage, other services and models."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Aggregates
from tidemill_rag.application.vector_store import MetadataValue, VectorStore
from tidemill_rag.domain.chunking import Chunk, Cut
from tidemill_rag.domain.collection import Collection, IndexRef
from tidemill_rag.domain.ledger import Counts, DesiredDocument, Row

__all__ = [
    "Catalog",
    "CatalogPage",
    "Collections",
    "Contents",
    "DocumentContent",
    "EmbeddingModel",
    "EmbeddingModels",
    "Enqueue",
    "Ledger",
    "ResolvedModel",
    "Sweep",
    "VectorStore",
]

Collections = Aggregates[Collection]
Enqueue = Callable[[IndexRef], None]
"""Enqueues an index version for reconciliation."""
Sweep = Callable[[IndexRef, str, int], None]
"""Schedules the deletion of a document's passages below a `seq`."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogPage:
    """A page of a source's documents; `next_token` is empty on the last one."""

    documents: Sequence[DesiredDocument]
    next_token: str = ""


class Catalog(Protocol):
    """ingest's list of documents."""

    async def page(self, project: str, source: str, *, token: str) -> CatalogPage:
        """Return the page of a source's documents, including deleted ones, that follows the one with this token.

        Raises:
            InvalidInput: the token has expired.
            DependencyUnavailable: ingest does not respond.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentContent:
    """The masked text of a document version, and its metadata."""

    media_type: str
    text: str
    title: str = ""
    uri: str = ""
    readers: tuple[str, ...] = ()
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)


class Contents(Protocol):
    """ingest's exchange bucket."""

    async def get(self, ref: ObjectRef) -> DocumentContent | None:
        """Return the content, or None if it was erased.

        Raises:
            DocumentUnreadable: the object is not a document version.
            DependencyUnavailable: the object store does not respond.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedModel:
    """The model version that a reference resolves to."""

    reference: str
    """`model@version`."""
    max_tokens: int
    """The token limit of the model, including special tokens."""


class EmbeddingModel(Protocol):
    """A loaded model; vectors have length 1."""

    dimensions: int
    max_tokens: int
    special_tokens: int

    async def cut(self, project: str, content: DocumentContent, cut: Cut) -> tuple[Sequence[Chunk], int]:
        """Return a document's passages, and the number of passages omitted because the vocabulary does not cover them.

        Raises:
            InvalidInput: the tokenizer fails on the text, or exceeds its limits.
            DependencyUnavailable: the tokenizer processes are overloaded.

        """
        ...

    async def embed_passages(self, project: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return one vector per text, truncated at the model's token limit; raises as `cut`."""
        ...

    async def embed_query(self, project: str, text: str) -> Sequence[float] | None:
        """Return the vector of a query, truncated at the model's token limit; raises as `cut`.

        Queries go before passages. None if the vocabulary covers less than `MIN_KNOWN` of the query, whose vector would
        match anything.
        """
        ...


class EmbeddingModels(Protocol):
    """Embedding models from the trainer's registry."""

    async def resolve(self, project: str, reference: str) -> ResolvedModel:
        """Resolve `model` or `model@version`.

        Raises:
            NotFound: the project has no such model.
            EmbeddingUnusable: the model is not an embedding model that rag can load.
            DependencyUnavailable: the trainer does not respond.

        """
        ...

    async def load(self, project: str, resolved: str) -> EmbeddingModel:
        """Return the loaded model; models with equal content are loaded once."""
        ...
