"""What rag needs from outside."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from tidemill_kit.core.aggregate import ObjectRef
from tidemill_kit.core.application import Aggregates
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
    "IndexLeases",
    "Indexes",
    "Ledger",
    "ResolvedModel",
    "Sweep",
    "VectorStore",
]

Collections = Aggregates[Collection]
Enqueue = Callable[[IndexRef], None]
"""Notifies the worker that an index version may have something to do."""
Sweep = Callable[[IndexRef, str, int], None]
"""Asks for the removal of a document's passages below a `seq`."""


class Indexes(Protocol):
    """Every index version of every project that is not gone, for the worker."""

    async def all(self) -> Sequence[IndexRef]:
        """Return their names, those of deleted collections too."""
        ...

    async def unfinished(self) -> Sequence[IndexRef]:
        """Return those that are built or to be swept, or whose numbers say that rows wait."""
        ...


class IndexLeases(Protocol):
    """Who works on an index version: one worker at a time."""

    def held(self, index: IndexRef) -> AbstractAsyncContextManager[int | None]:
        """Hold the index version while the body runs; yields the epoch, or None where another process holds it."""
        ...


class Ledger(Protocol):
    """Rows by index version and document. Writes of a worker carry its epoch; a later holder's are never undone."""

    async def upsert_desired(self, index: IndexRef, desired: DesiredDocument) -> bool:
        """Keep what is desired, unless something as new is requested already; return whether it was kept."""
        ...

    async def upsert_all_desired(self, index: IndexRef, desired: Sequence[DesiredDocument]) -> None:
        """Do what `upsert_desired` does for a page of different documents, most of which are new."""
        ...

    async def take(self, index: IndexRef, *, epoch: int, limit: int, large: bool = False) -> Sequence[Row]:
        """Return rows with something to do, and shut out writes of earlier epochs to them.

        Large documents are taken apart from the others, always the same one first.
        """
        ...

    async def attempt(self, index: IndexRef, rows: Sequence[Row], *, epoch: int, by: int) -> None:
        """Count an attempt of each row that still waits, or take it back with -1; never below 0."""
        ...

    async def mark_indexed(self, index: IndexRef, row: Row, *, epoch: int, chunks: int, note: str = "") -> bool:
        """Note that what the row needs is indexed; False where it needs something else by now, or the epoch is over.

        `note` says what of it cannot be found all the same.
        """
        ...

    async def fail(self, index: IndexRef, row: Row, *, epoch: int, message: str, final: bool) -> bool:
        """Note a failed attempt; a final one is not tried again."""
        ...

    async def rows(self, index: IndexRef, documents: Sequence[str]) -> Mapping[str, Row]:
        """Return the rows of these documents."""
        ...

    async def counts(self, indexes: Sequence[IndexRef]) -> Mapping[IndexRef, Counts]:
        """Return index versions in numbers, which are kept: asking costs the same however many rows there are.

        A process that died may have left them wrong by a few, until the next `count`.
        """
        ...

    async def count(self, index: IndexRef) -> Counts:
        """Look at all rows, and correct the numbers."""
        ...

    def indexed(self, index: IndexRef) -> AsyncIterator[Sequence[Row]]:
        """Yield the rows of all documents that are indexed and not deleted, page by page."""
        ...

    async def reset(self, index: IndexRef, documents: Sequence[str], *, epoch: int) -> None:
        """Have those of the documents that are indexed indexed once more; what is shown of them stays shown."""
        ...

    async def drop(self, index: IndexRef) -> None:
        """Remove all rows."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogPage:
    """A part of a source's documents; `next_token` is empty on the last one."""

    documents: Sequence[DesiredDocument]
    next_token: str = ""


class Catalog(Protocol):
    """ingest's list of documents."""

    async def page(self, project: str, source: str, *, token: str) -> CatalogPage:
        """Return the documents of a source as they are now, deleted ones too, after the page that gave the token.

        Raises:
            InvalidInput: the token leads nowhere any more.
            DependencyUnavailable: ingest does not answer.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentContent:
    """One version's masked text and what is known about it."""

    media_type: str
    text: str
    title: str = ""
    uri: str = ""
    readers: tuple[str, ...] = ()
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)


class Contents(Protocol):
    """ingest's exchange bucket."""

    async def get(self, ref: ObjectRef) -> DocumentContent | None:
        """Return the content, or None where it was erased.

        Raises:
            DocumentUnreadable: it is not what ingest promises.
            DependencyUnavailable: the object store does not answer.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedModel:
    """The model version that a reference means now."""

    reference: str
    """`model@version`."""
    max_tokens: int
    """What the model takes, special tokens counted."""


class EmbeddingModel(Protocol):
    """A loaded model; vectors have length 1."""

    dimensions: int
    max_tokens: int
    special_tokens: int

    async def cut(self, project: str, content: DocumentContent, cut: Cut) -> tuple[Sequence[Chunk], int]:
        """Return a document's passages, and how many more are left out as the vocabulary has too little of them.

        Raises:
            InvalidInput: the tokenizer fails on the text, or takes too much of it.
            DependencyUnavailable: the machine has too little time.

        """
        ...

    async def embed_passages(self, project: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return a vector for each text, cut at the model's limit; raises as `cut`."""
        ...

    async def embed_query(self, project: str, text: str) -> Sequence[float] | None:
        """Return the vector of a question, cut at the model's limit; questions go before passages. Raises as `cut`.

        None where the vocabulary has too little of it (`MIN_KNOWN`) to tell it from any other question.
        """
        ...


class EmbeddingModels(Protocol):
    """The trainer's registry, and the models that were loaded from it."""

    async def resolve(self, project: str, reference: str) -> ResolvedModel:
        """Return what `model` or `model@version` means now.

        Raises:
            NotFound: the project has no such model.
            EmbeddingUnusable: it cannot embed.
            DependencyUnavailable: the trainer does not answer.

        """
        ...

    async def load(self, project: str, resolved: str) -> EmbeddingModel:
        """Return the model, loaded once for each content."""
        ...
