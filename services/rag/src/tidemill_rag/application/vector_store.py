"""Where the vectors of index versions live. Stores have no compare-and-set, so points carry their `seq`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

MetadataValue = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What is kept beside a vector. `start` and `end` are code points of the version's text, half-open.

    So are `header_start` and `header_end`: a table's header, or what introduces a list, in front of the span in `text`.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One passage. `id` is a UUID derived from what it is about; the same id again replaces it."""

    id: str
    vector: Sequence[float]
    payload: Payload


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A passage that was found; `score` is the cosine similarity, -1 to 1."""

    id: str
    score: float
    payload: Payload
    also_in: tuple[str, ...] = ()
    """Other documents that say the same in as many words, as `source/key`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Which passages count. Of `metadata`, each field must have one of its values; an empty filter lets all pass.

    Passages with readers are found only by one of `principals`, always.
    """

    metadata: Mapping[str, Sequence[MetadataValue]] = field(default_factory=dict)
    sources: Sequence[str] = ()
    principals: Sequence[str] = ()


class VectorStore(Protocol):
    """Vectors by index version; an index's name holds project, collection and number, so that none can see another's.

    Every method may raise DependencyUnavailable, and may be repeated.
    """

    durable: bool
    """Acknowledged points survive a power failure too, not only the death of the process."""

    async def create(self, index: str, *, dimensions: int) -> None:
        """Make an index that is not there yet."""
        ...

    async def drop(self, index: str) -> None:
        """Remove an index with all its points, if it is there."""
        ...

    async def upsert(self, index: str, points: Sequence[Point]) -> None:
        """Store points; they survive the death of the process once this returns."""
        ...

    async def delete(self, index: str, document: str, *, below_seq: int, keep: Sequence[str] = ()) -> None:
        """Remove the points of a document that came with a lower `seq`, except those with an id in `keep`."""
        ...

    async def search(self, index: str, vector: Sequence[float], *, limit: int, where: Where) -> Sequence[Match]:
        """Return the nearest points, best first; none where there is no such index."""
        ...

    async def ids(self, index: str, documents: Sequence[str]) -> Mapping[str, Collection[str]]:
        """Return the ids of the points of each of these documents; a document without points is left out."""
        ...

    async def count(self, index: str) -> int:
        """Return how many points an index holds; 0 where there is none."""
        ...

    async def ping(self) -> None:
        """Return when the store answers."""
        ...

    async def close(self) -> None:
        """Let go of files and connections."""
        ...
