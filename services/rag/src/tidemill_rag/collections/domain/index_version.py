"""Index versions of a collection."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from tidemill_rag.collections.domain.search_settings import SearchSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunking:
    """Chunking settings; sizes in tokens of the embedding model."""

    by: str = "structure"
    max_tokens: int = 256
    overlap_tokens: int = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Sparse:
    """Sparse vectors of passages. Collections and index versions that predate them have none."""

    by: str = "none"
    """`bm25` or `none`."""
    languages: tuple[str, ...] = ()

    @property
    def used(self) -> bool:
        """Return whether passages have sparse vectors."""
        return self.by != "none"


class IndexState(Enum):
    """The state of an index version."""

    BUILDING = "building"
    READY = "ready"
    """Complete, and kept complete: it may be promoted."""
    LIVE = "live"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeOf:
    """What the points of an index version are made of; `embedding` is `model@version`."""

    sources: tuple[str, ...]
    embedding: str
    chunking: Chunking
    sparse: Sparse


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexVersion:
    """One build of the index: immutable settings, and documents that follow their sources."""

    number: int
    state: IndexState
    sources: tuple[str, ...]
    embedding: str
    """`model@version`."""
    chunking: Chunking
    sparse: Sparse = Sparse()
    quantized: bool | None = False
    """Whether its passages were embedded, and its questions are, with weights of 8 bits; None until the model is loaded
    for the first passage. Index versions that predate such weights have none.
    """
    create_time: datetime
    seeded: bool = False
    """True once all documents that existed at its creation are in the ledger."""
    seed_source: int = 0
    """Position in `sources` of the one being listed; those before are complete."""
    seed_token: str = ""
    """Token of the next page of that source."""
    live_time: datetime | None = None
    retire_time: datetime | None = None
    expire_time: datetime | None = None
    """When a replaced one that is READY is retired."""
    message: str = ""
    """The dependency that it waits for, or the last error."""
    search: SearchSettings | None = None
    """How its searches rank; None is what the collection has."""
    passages_of: int = 0
    """The index version, which may be gone, whose passages it searches; 0 where it has its own."""

    @property
    def passages(self) -> int:
        """Return the number that its passages are named by."""
        return self.passages_of or self.number

    @property
    def made_of(self) -> MadeOf:
        """Return what its points are made of."""
        return MadeOf(sources=self.sources, embedding=self.embedding, chunking=self.chunking, sparse=self.sparse)

    @property
    def receives_updates(self) -> bool:
        """Return whether events of its sources still update it."""
        return self.state is not IndexState.RETIRED

    def expired(self, now: datetime) -> bool:
        """Return whether it was replaced, and can be promoted back no longer."""
        return self.state is IndexState.READY and self.expire_time is not None and self.expire_time <= now


def numbers(indexes: Sequence[IndexVersion]) -> list[int]:
    """Return the numbers of the searchable index versions."""
    return [index.number for index in indexes if index.receives_updates]
