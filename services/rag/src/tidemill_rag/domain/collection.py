"""A set of sources made searchable in one way, and the index versions that are built of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum

from tidemill_kit.core.aggregate import Aggregate, Event
from tidemill_rag.domain.errors import CollectionExists


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunking:
    """How a document is cut into passages; sizes in tokens of the embedding model."""

    by: str = "structure"
    max_tokens: int = 256
    overlap_tokens: int = 32


class IndexState(Enum):
    """Where an index version stands."""

    BUILDING = "building"
    LIVE = "live"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRef:
    """Names an index version: its key begins every id of what is in it."""

    project: str
    collection: str
    number: int

    @property
    def key(self) -> str:
        """Return the name, in which no part has a slash."""
        return f"{self.project}/{self.collection}/{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexVersion:
    """One build: settings that never change, and documents that keep up with their sources."""

    number: int
    state: IndexState
    sources: tuple[str, ...]
    embedding: str
    """`model@version`."""
    chunking: Chunking
    create_time: datetime
    seeded: bool = False
    """True when everything that was there when it began is in the ledger."""
    seed_source: int = 0
    """Which of its sources is being listed; those before are in the ledger."""
    seed_token: str = ""
    """After which page of it."""
    live_time: datetime | None = None
    retire_time: datetime | None = None
    message: str = ""
    """What it waits for, or the last failure."""

    @property
    def receives_updates(self) -> bool:
        """Return whether it takes what its sources say now."""
        return self.state is not IndexState.RETIRED


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexBuildWasStarted(Event):
    """An index version takes documents."""

    index: int
    embedding: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexWentLive(Event):
    """An index version answers searches from now on; `replaced` is 0 where it is the first."""

    index: int
    replaced: int
    documents: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionWasDeleted(Event):
    """A collection and all its index versions are gone."""


@dataclass(slots=True, kw_only=True)
class Collection(Aggregate):
    """At most one index version is LIVE and at most one BUILDING; RETIRED ones are swept and then forgotten.

    A change of sources, embedding or chunking begins a new index version beside the live one, because what an index
    version is made of never changes: searches move from one complete state to the next.
    """

    sources: tuple[str, ...] = ()
    embedding: str = ""
    """As the user wrote it: `model` or `model@version`."""
    chunking: Chunking = field(default_factory=Chunking)
    indexes: tuple[IndexVersion, ...] = ()
    last_index: int = 0
    """Numbers go on through deletion, so that nothing old is ever taken for something new."""

    @property
    def live(self) -> IndexVersion | None:
        """Return the index version that answers searches."""
        return next((index for index in self.indexes if index.state is IndexState.LIVE), None)

    def index(self, number: int) -> IndexVersion | None:
        """Return the index version with this number, unless it is gone."""
        return next((index for index in self.indexes if index.number == number), None)

    def ref(self, number: int) -> IndexRef:
        """Return the name of an index version."""
        return IndexRef(project=self.project, collection=self.id, number=number)

    def begin(self, settings: "Settings", *, now: datetime) -> None:
        """Come to life, or back to it after a deletion.

        Raises:
            CollectionExists: it lives already.

        """
        if self.last_index and not self.deleted:
            raise CollectionExists(self.id)
        self.deleted = False
        self.labels = dict(settings.labels)
        self._take(settings)
        self.rebuild(settings.resolved, now=now)

    def configure(self, settings: "Settings", *, now: datetime) -> None:
        """Take new settings; where they change what an index is made of, begin one."""
        self.labels = dict(settings.labels)
        newest = self.indexes[-1] if self.indexes else None
        made_of = (settings.sources, settings.resolved, settings.chunking)
        self._take(settings)
        if newest is None or (newest.sources, newest.embedding, newest.chunking) != made_of:
            self.rebuild(settings.resolved, now=now)

    def rebuild(self, resolved: str, *, now: datetime) -> None:
        """Begin an index version; one that is still being built is given up for it."""
        for index in self.indexes:
            if index.state is IndexState.BUILDING:
                self._change(index.number, state=IndexState.RETIRED, retire_time=now)
        self.last_index += 1
        begun = IndexVersion(
            number=self.last_index,
            state=IndexState.BUILDING,
            sources=self.sources,
            embedding=resolved,
            chunking=self.chunking,
            create_time=now,
        )
        self.indexes = (*self.indexes, begun)
        self.pending.append(IndexBuildWasStarted(occurred_at=now, index=begun.number, embedding=resolved))

    def record_seeding(self, number: int, *, source: int, token: str) -> None:
        """Keep how far the list of what was there is in the ledger."""
        self._change(number, seed_source=source, seed_token=token, message="")

    def record_seeded(self, number: int) -> None:
        """Keep that an index version knows all that was there when it began."""
        self._change(number, seeded=True, message="")

    def note(self, number: int, message: str) -> None:
        """Keep what an index version waits for."""
        self._change(number, message=message)

    def go_live(self, number: int, *, documents: int, now: datetime) -> None:
        """Let a seeded index version answer, and retire the one that it replaces; a repetition changes nothing."""
        index, replaced = self.index(number), self.live
        if index is None or index.state is not IndexState.BUILDING or not index.seeded:
            return
        if replaced:
            self._change(replaced.number, state=IndexState.RETIRED, retire_time=now)
        self._change(number, state=IndexState.LIVE, live_time=now)
        self.pending.append(
            IndexWentLive(
                occurred_at=now, index=number, replaced=replaced.number if replaced else 0, documents=documents
            )
        )

    def forget(self, number: int) -> None:
        """Drop a retired index version of which nothing is left."""
        self.indexes = tuple(
            index for index in self.indexes if index.number != number or index.state is not IndexState.RETIRED
        )

    def delete(self, *, now: datetime) -> None:
        """Become a tombstone that knows which index versions are still to be swept."""
        self.deleted = True
        for index in self.indexes:
            if index.state is not IndexState.RETIRED:
                self._change(index.number, state=IndexState.RETIRED, retire_time=now)
        self.pending.append(CollectionWasDeleted(occurred_at=now))

    def _take(self, settings: "Settings") -> None:
        self.sources, self.embedding, self.chunking = settings.sources, settings.embedding, settings.chunking

    def _change(self, number: int, **changes: object) -> None:
        self.indexes = tuple(
            replace(index, **changes) if index.number == number else index  # type: ignore[arg-type]  # names of fields
            for index in self.indexes
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a user decides about a collection; `resolved` is the version that `embedding` means now."""

    sources: tuple[str, ...]
    embedding: str
    resolved: str
    chunking: Chunking
    labels: dict[str, str] = field(default_factory=dict)


def numbers(indexes: Sequence[IndexVersion]) -> list[int]:
    """Return the numbers of those that can be searched."""
    return [index.number for index in indexes if index.receives_updates]
