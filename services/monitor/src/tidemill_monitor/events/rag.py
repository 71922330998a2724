"""Events of rag: index versions."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexBuildStarted:
    """index.build_started."""

    collection: str
    seq: int
    index: int
    embedding: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexWentLive:
    """index.went_live: the one before is retired."""

    collection: str
    seq: int
    index: int
    replaced: int = 0
    documents: int = 0
