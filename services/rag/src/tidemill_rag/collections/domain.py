"""The Collection aggregate and its index versions."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum

from tidemill_core.aggregate import Aggregate, Event
from tidemill_core.application import Caller, derived_id
from tidemill_core.errors import Violation
from tidemill_core.resources import SLUG
from tidemill_rag.errors import CollectionExists

MAX_WEIGHT = 100.0
MAX_NEIGHBOURS = 5
DEFAULT_CANDIDATES, MAX_CANDIDATES = 20, 100
_MODEL_VERSION = re.compile(rf"{SLUG.pattern}@[1-9][0-9]{{0,8}}")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerank:
    """A cross-encoder that orders the best candidates."""

    model: str
    """`model@version`: a search setting counts at once, so that no other version may come in its place."""
    candidates: int = 0
    """0 is the default."""

    @property
    def reads(self) -> int:
        """Return how many candidates are read."""
        return self.candidates or DEFAULT_CANDIDATES

    def violations(self, field: str) -> Iterator[Violation]:
        """Yield what is out of bounds; `field` is the path in the request."""
        if not _MODEL_VERSION.fullmatch(self.model):
            yield Violation(f"{field}.model", f"is {self.model[:80]!r}; write `model@version`, as in reranker@1")
        if not 0 <= self.candidates <= MAX_CANDIDATES:
            text = f"is {self.candidates}; use 1 to {MAX_CANDIDATES}, or 0 for the default, {DEFAULT_CANDIDATES}"
            yield Violation(f"{field}.candidates", text)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """How searches rank: what they change is not stored in points."""

    dense_weight: float = 1.0
    sparse_weight: float = 0.7
    min_score: float = 0.0
    """Passages with a lower cosine are left out; 0 leaves none out."""
    diversity: float = 0.0
    """How much a passage loses by being like a better one, 0 to 1."""
    neighbours: int = 0
    """Passages before and after a found one that are returned with it."""
    rerank: Rerank | None = None


def search_violations(search: SearchSettings, *, field: str) -> Iterator[Violation]:
    """Yield what is wrong with search settings; `field` is their path in the request."""
    weights = {"dense_weight": search.dense_weight, "sparse_weight": search.sparse_weight}
    for name, weight in weights.items():
        if not 0 <= weight <= MAX_WEIGHT:  # false for NaN too
            yield Violation(f"{field}.{name}", f"is {weight:g}; use 0 to {MAX_WEIGHT:g}")
    if not 0 <= search.min_score <= 1:
        yield Violation(f"{field}.min_score", f"is {search.min_score:g}; use 0 (for all passages) to 1")
    if not 0 <= search.diversity <= 1:
        yield Violation(f"{field}.diversity", f"is {search.diversity:g}; use 0 (for the order as it is) to 1")
    if not 0 <= search.neighbours <= MAX_NEIGHBOURS:
        yield Violation(f"{field}.neighbours", f"is {search.neighbours}; use 0 to {MAX_NEIGHBOURS}")
    if search.rerank is not None:
        yield from search.rerank.violations(f"{field}.rerank")
    if not any(weights.values()):
        yield Violation(field, "has no weight above 0: set dense_weight or sparse_weight")


class IndexState(Enum):
    """The state of an index version."""

    BUILDING = "building"
    LIVE = "live"
    RETIRED = "retired"


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
class IndexVersion:
    """One build of the index: immutable settings, and documents that follow their sources."""

    number: int
    state: IndexState
    sources: tuple[str, ...]
    embedding: str
    """`model@version`."""
    chunking: Chunking
    sparse: Sparse = Sparse()
    create_time: datetime
    seeded: bool = False
    """True once all documents that existed at its creation are in the ledger."""
    seed_source: int = 0
    """Position in `sources` of the one being listed; those before are complete."""
    seed_token: str = ""
    """Token of the next page of that source."""
    live_time: datetime | None = None
    retire_time: datetime | None = None
    message: str = ""
    """The dependency that it waits for, or the last error."""

    @property
    def receives_updates(self) -> bool:
        """Return whether events of its sources still update it."""
        return self.state is not IndexState.RETIRED


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


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionDeleted(Event):
    """A collection was deleted with all its index versions."""


@dataclass(slots=True, kw_only=True)
class Collection(Aggregate):
    """At most one index version is LIVE and at most one BUILDING; RETIRED ones are deleted in the background.

    Index versions are immutable: a change of sources, embedding, chunking or sparse vectors starts a new one beside the
    live one, and searches switch to it when it is complete. A change of the search settings counts at once.
    """

    sources: tuple[str, ...] = ()
    embedding: str = ""
    """As the user wrote it: `model` or `model@version`."""
    chunking: Chunking = field(default_factory=Chunking)
    sparse: Sparse = field(default_factory=Sparse)
    search: SearchSettings = field(default_factory=SearchSettings)
    indexes: tuple[IndexVersion, ...] = ()
    last_index: int = 0
    """Numbers are never reused, not even after the collection was deleted and created again."""

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
        self.rebuild(settings.resolved, now=now)

    def configure(self, settings: "Settings", *, now: datetime) -> None:
        """Apply new settings; start an index version if what points are made of changed."""
        self.labels = dict(settings.labels)
        newest = self.indexes[-1] if self.indexes else None
        made_of = (settings.sources, settings.resolved, settings.chunking, settings.sparse)
        self._take(settings)
        if newest is None or (newest.sources, newest.embedding, newest.chunking, newest.sparse) != made_of:
            self.rebuild(settings.resolved, now=now)

    def rebuild(self, resolved: str, *, now: datetime) -> None:
        """Start an index version; one that is still building is retired."""
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
            create_time=now,
        )
        self.indexes = (*self.indexes, begun)
        self.pending.append(IndexBuildStarted(occurred_at=now, index=begun.number, embedding=resolved))

    def record_seeding(self, number: int, *, source: int, token: str) -> None:
        """Record how far its sources have been listed."""
        self._change(number, seed_source=source, seed_token=token, message="")

    def record_seeded(self, number: int) -> None:
        """Record that all sources have been listed."""
        self._change(number, seeded=True, message="")

    def record_message(self, number: int, message: str) -> None:
        """Record what an index version waits for."""
        self._change(number, message=message)

    def go_live(self, number: int, *, documents: int, now: datetime) -> None:
        """Switch searches to a seeded index version, and retire the one that it replaces. Idempotent."""
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
        self.sparse, self.search = settings.sparse, settings.search

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
    chunking: Chunking
    sparse: Sparse = Sparse()
    search: SearchSettings = SearchSettings()
    labels: dict[str, str] = field(default_factory=dict)


def numbers(indexes: Sequence[IndexVersion]) -> list[int]:
    """Return the numbers of the searchable index versions."""
    return [index.number for index in indexes if index.receives_updates]
