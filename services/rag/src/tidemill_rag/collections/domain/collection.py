"""The Collection aggregate and its index versions."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum

from tidemill_core.aggregate import Aggregate, Event
from tidemill_core.application import Caller, derived_id
from tidemill_rag.collections.domain.search_settings import SearchSettings
from tidemill_rag.errors import CollectionExists, IndexIncomplete, IndexNotFound

_DEFAULT_SEARCH = SearchSettings()


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


class GoLive(Enum):
    """When a complete index version goes live, but for the first one, which does at once."""

    WHEN_COMPLETE = "when_complete"
    BY_ROLLOUT = "by_rollout"
    """It is READY until it is promoted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How many READY index versions a collection has, and how long a replaced one may be promoted back."""

    max_ready: int
    replaced: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRef:
    """The name of an index version; its key is the prefix of the ids of its rows and points."""

    project: str
    collection: str
    number: int

    @property
    def key(self) -> str:
        """Return the name; its parts contain no slash."""
        return f"{self.project}/{self.collection}/{self.number}"

    def point_id(self, document: str, seq: int, ordinal: int) -> str:
        """Return a deterministic id: the same for the same passage of the same event in every process."""
        return derived_id(self.project, self.collection, str(self.number), document, str(seq), str(ordinal))

    @property
    def caller(self) -> Caller:
        """Return whom the work on it is done for."""
        return Caller.of_service(self.project, "rag")


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


@dataclass(slots=True, kw_only=True)
class Collection(Aggregate):
    """At most one index version is LIVE and at most one BUILDING; RETIRED ones are deleted in the background.

    Index versions are immutable: a change of sources, embedding, chunking or sparse vectors starts a new one beside the
    live one. Searches switch to it when it is complete, or when it is promoted, as `go_live` says. A change of the
    search settings counts at once.
    """

    sources: tuple[str, ...] = ()
    embedding: str = ""
    """As the user wrote it: `model` or `model@version`."""
    chunking: Chunking = field(default_factory=Chunking)
    sparse: Sparse = field(default_factory=Sparse)
    search: SearchSettings = field(default_factory=SearchSettings)
    go_live: GoLive = GoLive.WHEN_COMPLETE
    indexes: tuple[IndexVersion, ...] = ()
    last_index: int = 0
    """Numbers are never reused, not even after the collection was deleted and created again."""
    promotions: int = 0
    """Each call of PromoteIndex counts, so that one of an earlier etag, which comes late, changes nothing any more."""
    begun: MadeOf | None = None
    """What the last index version was begun with, which may be gone; collections that predate it have None."""

    @property
    def made_of(self) -> MadeOf | None:
        """Return what the last index version was begun with."""
        return self.begun or (self.indexes[-1].made_of if self.indexes else None)

    @property
    def live(self) -> IndexVersion | None:
        """Return the index version that serves searches."""
        return next((index for index in self.indexes if index.state is IndexState.LIVE), None)

    def index(self, number: int) -> IndexVersion | None:
        """Return the index version with this number, if it exists."""
        return next((index for index in self.indexes if index.number == number), None)

    def ref(self, number: int) -> IndexRef:
        """Return the name of an index version."""
        return IndexRef(project=self.project, collection=self.id, number=number)

    def begin(self, settings: "Settings", *, now: datetime) -> None:
        """Create the collection, or create it again after a deletion.

        Raises:
            CollectionExists: it exists and is not deleted.

        """
        if self.last_index and not self.deleted:
            raise CollectionExists(self.id)
        self.deleted = False
        self.labels = dict(settings.labels)
        self._take(settings)
        self.rebuild(settings.resolved, quantizes=settings.quantizes, now=now)

    def configure(self, settings: "Settings", *, now: datetime) -> None:
        """Apply new settings; start an index version if what points are made of changed."""
        self.labels = dict(settings.labels)
        self._take(settings)
        if self.made_of != settings.made_of:
            self.rebuild(settings.resolved, quantizes=settings.quantizes, now=now)

    def rebuild(self, resolved: str, *, quantizes: bool = True, now: datetime) -> None:
        """Start an index version, with weights of 8 bits if the model has such; one still building is retired."""
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
            sparse=self.sparse,
            quantized=None if quantizes else False,
            create_time=now,
        )
        self.indexes, self.begun = (*self.indexes, begun), begun.made_of
        self.pending.append(IndexBuildStarted(occurred_at=now, index=begun.number, embedding=resolved))

    def record_seeding(self, number: int, *, source: int, token: str) -> None:
        """Record how far its sources have been listed."""
        self._change(number, seed_source=source, seed_token=token, message="")

    def record_seeded(self, number: int) -> None:
        """Record that all sources have been listed."""
        self._change(number, seeded=True, message="")

    def record_form(self, number: int, *, quantized: bool) -> None:
        """Record in which form the model embeds for it from now on."""
        index = self.index(number)
        if index and index.quantized is None:
            self._change(number, quantized=quantized)

    def record_message(self, number: int, message: str) -> None:
        """Record what an index version waits for."""
        self._change(number, message=message)

    def complete(self, number: int, *, documents: int, keep: Keep, now: datetime) -> None:
        """Switch searches to a seeded index version, and retire those before it, or have it wait. Idempotent."""
        index, live = self.index(number), self.live
        if index is None or index.state is not IndexState.BUILDING or not index.seeded:
            return
        if live and self.go_live is GoLive.BY_ROLLOUT:
            self._change(number, state=IndexState.READY)
            self.pending.append(IndexBecameReady(occurred_at=now, index=number, live=live.number, documents=documents))
            self._retire_beyond(keep.max_ready, now=now)
            return
        if live:
            self._change(live.number, state=IndexState.RETIRED, retire_time=now)
        self._serve(number, replaced=live, documents=documents, promoted=False, now=now)
        self._retire_beyond(0, now=now)

    def promote(self, number: int, *, documents: int, keep: Keep, now: datetime) -> None:
        """Switch searches to a READY index version; the one that it replaces may be promoted back for a while.

        Raises:
            IndexNotFound: there is none with this number, or it is retired.
            IndexIncomplete: it is being built.

        """
        index, live = self.index(number), self.live
        if index is None or not index.receives_updates:
            raise IndexNotFound(self.id, number, existing=numbers(self.indexes))
        if index.state is IndexState.BUILDING:
            raise IndexIncomplete(self.id, number)
        self.promotions += 1
        if index.state is IndexState.LIVE:
            return
        if live:
            self._change(live.number, state=IndexState.READY, expire_time=now + keep.replaced)
        self._serve(number, replaced=live, documents=documents, promoted=True, now=now)
        self._retire_beyond(keep.max_ready, now=now)

    def expire(self, number: int, *, now: datetime) -> None:
        """Retire a replaced index version whose time to be promoted back is over."""
        index = self.index(number)
        if index and index.expired(now):
            self._retire_ready(number, now=now)

    def forget(self, number: int) -> None:
        """Remove a retired index version whose data is deleted."""
        self.indexes = tuple(
            index for index in self.indexes if index.number != number or index.state is not IndexState.RETIRED
        )

    def delete(self, *, now: datetime) -> None:
        """Turn into a tombstone that lists the index versions still to be deleted."""
        self.deleted = True
        for index in self.indexes:
            if index.state is not IndexState.RETIRED:
                self._change(index.number, state=IndexState.RETIRED, retire_time=now)
        self.pending.append(CollectionDeleted(occurred_at=now))

    def _take(self, settings: "Settings") -> None:
        self.sources, self.embedding, self.chunking = settings.sources, settings.embedding, settings.chunking
        self.sparse, self.search, self.go_live = settings.sparse, settings.search, settings.go_live

    def _serve(
        self, number: int, *, replaced: IndexVersion | None, documents: int, promoted: bool, now: datetime
    ) -> None:
        self._change(number, state=IndexState.LIVE, live_time=now, expire_time=None)
        before = replaced.number if replaced else 0
        self.pending.append(
            IndexWentLive(occurred_at=now, index=number, replaced=before, documents=documents, promoted=promoted)
        )

    def _retire_beyond(self, max_ready: int, *, now: datetime) -> None:
        """Retire the oldest of the READY index versions that are too many."""
        ready = [index.number for index in self.indexes if index.state is IndexState.READY]
        for number in ready[: max(0, len(ready) - max_ready)]:
            self._retire_ready(number, now=now)

    def _retire_ready(self, number: int, *, now: datetime) -> None:
        self._change(number, state=IndexState.RETIRED, retire_time=now)
        self.pending.append(IndexRetired(occurred_at=now, index=number))

    def _change(self, number: int, **changes: object) -> None:
        self.indexes = tuple(
            replace(index, **changes) if index.number == number else index  # type: ignore[arg-type]  # names of fields
            for index in self.indexes
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a collection; `resolved` is the model version that `embedding` resolves to."""

    sources: tuple[str, ...]
    embedding: str
    resolved: str
    quantizes: bool = True
    """Whether an index that begins is to have weights of 8 bits."""
    chunking: Chunking
    sparse: Sparse = Sparse()
    search: SearchSettings = _DEFAULT_SEARCH
    go_live: GoLive = GoLive.WHEN_COMPLETE
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def made_of(self) -> MadeOf:
        """Return what points are made of by these settings."""
        return MadeOf(sources=self.sources, embedding=self.resolved, chunking=self.chunking, sparse=self.sparse)


def numbers(indexes: Sequence[IndexVersion]) -> list[int]:
    """Return the numbers of the searchable index versions."""
    return [index.number for index in indexes if index.receives_updates]
