"""What is published of collections and their index versions."""

from dataclasses import dataclass

from tidemill_core.aggregate import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexBuildStarted(Event):
    """An index version receives documents."""

    index: int
    embedding: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexWentLive(Event):
    """An index version serves searches; `replaced` is 0 for the first one."""

    index: int
    replaced: int
    documents: int
    promoted: bool = False
    """Then the replaced one is READY, else retired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexBecameReady(Event):
    """An index version waits for its promotion; `live` serves searches."""

    index: int
    live: int
    documents: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRetired(Event):
    """An index version that was READY is kept no longer."""

    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionDeleted(Event):
    """A collection was deleted with all its index versions."""
