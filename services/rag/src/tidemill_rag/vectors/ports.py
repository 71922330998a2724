"""The port to the vector store. Stores have no compare-and-set, so points carry their `seq`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from tidemill_rag.embedding.domain import SparseVector
from tidemill_rag.indexing.domain.content import MetadataValue
from tidemill_rag.indexing.domain.places import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """The payload of a point. `start` and `end` are offsets in code points of the version's text, half-open.

    So are `header_start` and `header_end`: the table header or list introduction that `text` starts with.
    """

    document: str
    seq: int
    version: int
    start: int
    end: int
    text: str
    source: str
    key: str
    title: str = ""
    uri: str = ""
    readers: tuple[str, ...] = ()
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    header_start: int = 0
    header_end: int = 0
    places: tuple[Place, ...] = ()
    """Where the span is in the original."""
    ordinal: int = -1
    """Its number among the passages of the version, from 0; -1 in an index that predates it."""
    lead: str | None = None
    """The white space between the passage before and this one; None where other text is between."""

    @property
    def span_text(self) -> str:
        """Return the text of the span, without the header above it."""
        return self.text[len(self.text) - (self.end - self.start) :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One passage. `id` is a UUID derived from its content's identity; upserting the same id replaces the point."""

    id: str
    vector: Sequence[float]
    payload: Payload
    sparse: SparseVector | None = None
    """None in an index without sparse vectors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What a search ranks by: the vector, of length 1, and with `sparse` also the terms.

    Two rankings are fused by weighted reciprocal ranks (RRF, Cormack et al., 2009).
    """

    vector: Sequence[float]
    sparse: SparseVector | None = None
    dense_weight: float = 1.0
    sparse_weight: float = 1.0
    with_vectors: bool = False
    """Matches bring their vectors."""

    @property
    def is_fused(self) -> bool:
        """Return whether terms count."""
        return self.sparse is not None and bool(self.sparse.indices) and self.sparse_weight > 0

    @property
    def matches_nothing(self) -> bool:
        """Return whether terms alone count, and there are none."""
        return self.sparse is not None and not self.is_fused and not self.dense_weight


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A search result; `score` is the cosine similarity, -1 to 1, by whatever it was ranked."""

    id: str
    score: float
    payload: Payload
    also_in: tuple[str, ...] = ()
    """Other documents with the same text, as `source/key`."""
    also_titled: tuple[str, ...] = ()
    """The titles of these."""
    rerank_score: float | None = None
    """The reranker's, 0 to 1; None of what was not reranked."""
    vector: Sequence[float] = ()
    """Of length 1, where the query asked for vectors."""
    collection: str = ""
    """The collection of another project that it is of."""

    @property
    def relevance(self) -> float:
        """Return the reranker's score, or else the cosine."""
        return self.score if self.rerank_score is None else self.rerank_score


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Bounds of numbers, or of times with a time zone. What is not of that kind is outside."""

    gte: float | datetime | None = None
    gt: float | datetime | None = None
    lte: float | datetime | None = None
    lt: float | datetime | None = None

    @property
    def bounds(self) -> Mapping[str, float | datetime]:
        """Return the bounds that there are, by name."""
        bounds = {"gte": self.gte, "gt": self.gt, "lte": self.lte, "lt": self.lt}
        return {name: bound for name, bound in bounds.items() if bound is not None}

    @property
    def of_times(self) -> bool:
        """Return whether the bounds are times."""
        return any(isinstance(bound, datetime) for bound in self.bounds.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """A filter. Each `metadata` field must have one of the listed values; an empty filter matches everything.

    Each field of `ranges` must have a value in its range. The names are made of letters, digits and `_.-`.

    Passages with readers match only if `principals` has one of them.
    """

    metadata: Mapping[str, Sequence[MetadataValue]] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)
    sources: Sequence[str] = ()
    principals: Sequence[str] = ()


class VectorStore(Protocol):
    """Vectors by index version. The name of an index contains project, collection and number, which isolates projects.

    Every method may raise DependencyUnavailable, and is idempotent.
    """

    durable: bool
    """Acknowledged points survive a power failure, not only a process crash."""

    async def create(self, index: str, *, dimensions: int, sparse: bool = False) -> None:
        """Create an index, with sparse vectors or without, unless it exists."""
        ...

    async def drop(self, index: str) -> None:
        """Delete an index with all its points, if it exists."""
        ...

    async def upsert(self, index: str, points: Sequence[Point]) -> None:
        """Store points; they survive a process crash once this returns."""
        ...

    async def delete(self, index: str, document: str, *, below_seq: int, keep: Sequence[str] = ()) -> None:
        """Delete the points of a document with a lower `seq`, except those with an id in `keep`."""
        ...

    async def purge(self, index: str, document: str) -> bool:
        """Rewrite an index whose files still hold deleted points of a document; return whether that was so.

        A store whose files are not at hand returns False.
        """
        ...

    async def search(self, index: str, query: Query, *, limit: int, where: Where) -> Sequence[Match]:
        """Return the best points, best first; none if the index does not exist.

        They are fewer than `limit` only if no more match; with a `dense_weight` of 0 those without a term of the query
        do not.
        """
        ...

    async def payloads(self, index: str, ids: Sequence[str]) -> Mapping[str, Payload]:
        """Return the payloads of points by id; those that are not there, or no longer, are omitted."""
        ...

    async def get(self, index: str, ids: Sequence[str]) -> Sequence[Point]:
        """Return the points with these ids that are there, in any order, without their sparse vectors."""
        ...

    async def ids(self, index: str, documents: Sequence[str]) -> Mapping[str, Collection[str]]:
        """Return the ids of the points of each of these documents; documents without points are omitted."""
        ...

    async def count(self, index: str) -> int:
        """Return the number of points in an index; 0 if it does not exist."""
        ...

    async def ping(self) -> None:
        """Return once the store has responded."""
        ...

    async def close(self) -> None:
        """Close files and connections."""
        ...
