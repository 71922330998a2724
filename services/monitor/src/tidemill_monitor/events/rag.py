"""Events of rag: index versions."""

from collections.abc import Mapping
from dataclasses import dataclass

from tidemill_monitor.events.meta import Counted


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexBuildStarted:
    """index.build_started."""

    collection: str
    seq: int
    index: int
    embedding: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexWentLive:
    """index.went_live: the one before is retired, or kept for a while where this one was `promoted`."""

    collection: str
    seq: int
    index: int
    replaced: int = 0
    documents: int = 0
    promoted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexBecameReady:
    """index.became_ready: it waits for its promotion."""

    collection: str
    seq: int
    index: int
    documents: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRetired:
    """index.retired."""

    collection: str
    seq: int
    index: int


TYPES: Mapping[str, type] = {
    "tidemill.rag.index.build_started.v1": IndexBuildStarted,
    "tidemill.rag.index.went_live.v1": IndexWentLive,
    "tidemill.rag.index.became_ready.v1": IndexBecameReady,
    "tidemill.rag.index.retired.v1": IndexRetired,
    "tidemill.rag.index.collection_deleted.v1": Counted,
}
