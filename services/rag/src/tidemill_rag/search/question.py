"""What is asked of collections."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tidemill_rag.collections.domain.collection import IndexRef
from tidemill_rag.collections.domain.search_settings import SearchSettings
from tidemill_rag.indexing.domain.content import MetadataValue
from tidemill_rag.vectors.ports import Range

Sweep = Callable[[IndexRef, str, int], None]
"""Schedules the deletion of a document's passages below a `seq`."""

DEFAULT_TOP_K, MAX_TOP_K = 5, 100
MAX_COLLECTIONS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A search request: `top_k` 0 is the default, `index` 0 the live index version of `collection`."""

    collection: str
    other_collections: tuple[str, ...] = ()
    query: str
    top_k: int = 0
    metadata_filter: Mapping[str, Sequence[MetadataValue]] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    principals: tuple[str, ...] = ()
    index: int = 0
    settings: SearchSettings | None = None
    """In place of each collection's; a reranker in them is of the caller's registry."""

    @property
    def collections(self) -> tuple[str, ...]:
        """Return the names of all collections."""
        return (self.collection, *self.other_collections)
