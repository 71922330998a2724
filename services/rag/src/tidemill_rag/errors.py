"""The errors of rag.

InvalidInput
├── ModelUnusable           the model cannot be used: it is remote, not ready, or has no tokenizer
│   ├── EmbeddingUnusable
│   └── RerankerUnusable
└── DocumentUnreadable      the object in the exchange bucket is not a document version
NotFound
├── CollectionNotFound
└── IndexNotFound
Conflict
└── IndexBusy               a worker has not finished with an index version that is to be erased
PreconditionFailed
├── IndexNotReady           the first index version has not listed its documents yet
├── IndexIncomplete         an index version that is being built cannot be promoted
├── TooFewDocuments         a collection has too few documents that the caller may read
└── TopicsTooCostly         topics take more processor time or memory than they may
DependencyUnavailable
└── GraphMissing            an embedding model has no form of 8 bits on this machine
"""

from collections.abc import Sequence

from tidemill_core.errors import (
    AlreadyExists,
    Conflict,
    DependencyUnavailable,
    InvalidInput,
    NotFound,
    PreconditionFailed,
    Violation,
)


class CollectionNotFound(NotFound):
    """The caller's project has no collection with this id."""

    reason = "COLLECTION_NOT_FOUND"

    def __init__(self, collection_id: str, *, existing: Sequence[str] = ()) -> None:
        there = f"existing: {', '.join(existing)}" if existing else "create it first"
        super().__init__(f"collection {collection_id} not found in this project: {there}", collection=collection_id)


class CollectionExists(AlreadyExists):
    """The id is taken."""

    reason = "COLLECTION_EXISTS"

    def __init__(self, collection_id: str) -> None:
        super().__init__(f"collection {collection_id} already exists: update it", collection=collection_id)


class IndexNotFound(NotFound):
    """The collection has no searchable index version with this number."""

    reason = "INDEX_NOT_FOUND"

    def __init__(self, collection_id: str, index: int, *, existing: Sequence[int]) -> None:
        numbers = ", ".join(map(str, existing)) or "none"
        super().__init__(
            f"collection {collection_id} has no index version {index}: existing: {numbers}",
            collection=collection_id,
            index=index,
        )


class IndexBusy(Conflict):
    """A worker indexes into it."""

    reason = "INDEX_BUSY"

    def __init__(self, collection_id: str, index: int) -> None:
        super().__init__(
            f"index version {index} of collection {collection_id} is being worked on: try again in a moment",
            collection=collection_id,
            index=index,
        )


class IndexNotReady(PreconditionFailed):
    """The first index version is being built."""

    reason = "INDEX_NOT_READY"

    def __init__(
        self, collection_id: str, *, message: str, indexed: int | None = None, desired: int | None = None
    ) -> None:
        """Say how far it is, where that was counted."""
        progress = "" if desired is None else f", {indexed} of {desired} documents"
        waits = f" ({message})" if message else ""
        super().__init__(
            f"the first index of collection {collection_id} is being built{progress}{waits}: try again later",
            collection=collection_id,
            indexed=indexed,
            desired=desired,
        )


class IndexIncomplete(PreconditionFailed):
    """It is being built."""

    reason = "INDEX_INCOMPLETE"

    def __init__(self, collection_id: str, index: int) -> None:
        super().__init__(
            f"index version {index} of collection {collection_id} is being built: promote it when it is ready",
            collection=collection_id,
            index=index,
        )


class TooFewDocuments(PreconditionFailed):
    """The caller may read fewer than topics can be made of."""

    reason = "TOO_FEW_DOCUMENTS"

    def __init__(self, collection_id: str, *, documents: int, least: int) -> None:
        super().__init__(
            f"{documents} of the documents asked for are indexed with passages that you may read, and topics take "
            f"{least}: add documents to the sources of collection {collection_id}, or ask for more of its sources",
            collection=collection_id,
            documents=documents,
            least=least,
        )


class TopicsTooCostly(PreconditionFailed):
    """The limits of topics are exceeded."""

    reason = "TOPICS_TOO_COSTLY"

    def __init__(self, why: str) -> None:
        super().__init__(f"computing the topics {why}: ask for fewer sources, or have RAG_TOPIC_MAX_DOCUMENTS lowered")


class ModelUnusable(InvalidInput):
    """The model exists but cannot be used for what a setting names it for."""

    field = "model"

    def __init__(self, reference: str, why: str) -> None:
        super().__init__(violations=[Violation(self.field, f"{reference} {why}")], model=reference)


class EmbeddingUnusable(ModelUnusable):
    """It cannot be used for embedding."""

    field = "embedding"
    reason = "EMBEDDING_UNUSABLE"


class GraphMissing(DependencyUnavailable):
    """A model has no form of 8 bits on this machine, which may be `passing`."""

    def __init__(self, reference: str, why: str, *, passing: bool) -> None:
        advice = "try again" if passing else "what was made with it needs that form, or a rebuild"
        message = f"the form of 8 bits of embedding model {reference} is missing: it {why}; {advice}"
        super().__init__(message, dependency="models", model=reference)
        self.why = why
        self.passing = passing


class RerankerUnusable(ModelUnusable):
    """It cannot be used to rerank."""

    field = "search.rerank.model"
    reason = "RERANKER_UNUSABLE"


class TextTooLong(InvalidInput):
    """A text has more tokens than the model takes."""

    reason = "TEXT_TOO_LONG"

    def __init__(self, number: int, *, limit: int) -> None:
        text = f"This model's maximum context length is {limit} tokens, and this text has more: cut it"
        super().__init__(violations=[Violation(f"texts[{number}]", text)], limit=limit)


class DocumentUnreadable(InvalidInput):
    """The object is not a document version."""

    reason = "DOCUMENT_UNREADABLE"
