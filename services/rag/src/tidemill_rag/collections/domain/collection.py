"""The Collection aggregate and its index versions."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum

from tidemill_core.aggregate import Aggregate
from tidemill_core.application import Caller, derived_id
from tidemill_rag.collections.domain.events import (
    CollectionDeleted,
    IndexBecameReady,
    IndexBuildStarted,
    IndexRetired,
    IndexWentLive,
)
from tidemill_rag.collections.domain.index_version import Chunking, IndexState, IndexVersion, MadeOf, Sparse, numbers
from tidemill_rag.collections.domain.search_settings import SearchSettings
from tidemill_rag.errors import CollectionExists, IndexIncomplete, IndexNotFound

_DEFAULT_SEARCH, _NO_TERMS = SearchSettings(), Sparse()


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
    """The name of an index version's passages; its key is the prefix of the ids of their rows and points."""

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


@dataclass(slots=True, kw_only=True)
class Collection(Aggregate):
    """At most one index version is LIVE and at most one BUILDING; RETIRED ones are deleted in the background.

    Index versions are immutable: a change of sources, embedding, chunking or sparse vectors starts a new one beside the
    live one. Searches switch to it when it is complete, or when it is promoted, as `go_live` says. A change of the
    search settings counts at once, or, where index versions wait, starts one that searches passages that are there.
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
        """Return the name of the passages of an index version."""
        index = self.index(number)
        return IndexRef(project=self.project, collection=self.id, number=index.passages if index else number)

    @property
    def refs(self) -> Sequence[IndexRef]:
        """Return the names of all passages, each once."""
        return list(dict.fromkeys(self.ref(index.number) for index in self.indexes))

    def searching(self, ref: IndexRef) -> Sequence[IndexVersion]:
        """Return the index versions that search these passages: what is being completed first, retired ones last."""
        order = [IndexState.BUILDING, IndexState.LIVE, IndexState.READY, IndexState.RETIRED]
        there = [index for index in self.indexes if index.passages == ref.number]
        return sorted(there, key=lambda index: order.index(index.state))

    def ranking(self, index: IndexVersion) -> SearchSettings:
        """Return how searches of an index version rank."""
        return index.search or self.search

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
        """Apply new settings; start an index version if what points are made of changed, or how a waiting one ranks."""
        self.labels, before = dict(settings.labels), self.search
        self._take(settings)
        waits = self.go_live is GoLive.BY_ROLLOUT
        if not waits or self.search != before:  # what is there ranks as before where the change has to be promoted
            self.indexes = tuple(
                replace(index, search=(index.search or before) if waits else None) for index in self.indexes
            )
        if self.made_of != settings.made_of:
            self.rebuild(settings.resolved, quantizes=settings.quantizes, now=now)
        elif waits and self.search != before:
            self._rank_anew(now=now)

    def rebuild(self, resolved: str, *, quantizes: bool = True, now: datetime) -> None:
        """Start an index version, with weights of 8 bits if the model has such; one still building is retired."""
        for index in self.indexes:
            if index.state is IndexState.BUILDING:
                self._retire(index, now=now)
        begun = IndexVersion(
            number=self.last_index + 1,
            state=IndexState.BUILDING,
            sources=self.sources,
            embedding=resolved,
            chunking=self.chunking,
            sparse=self.sparse,
            quantized=None if quantizes else False,
            create_time=now,
        )
        self.begun = begun.made_of
        self._add(begun, now=now)

    def record_seeding(self, number: int, *, source: int, token: str) -> None:
        """Record how far its sources have been listed."""
        self._change(number, seed_source=source, seed_token=token, message="")

    def record_seeded(self, number: int) -> None:
        """Record that all sources have been listed."""
        self._change(number, seeded=True, message="")

    def record_form(self, ref: IndexRef, *, quantized: bool) -> None:
        """Record in which form the model embeds for these passages from now on."""
        for index in self.searching(ref):
            if index.quantized is None:
                self._change(index.number, quantized=quantized)

    def record_message(self, ref: IndexRef, message: str) -> None:
        """Record what these passages wait for."""
        for index in self.searching(ref):
            self._change(index.number, message=message)

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
            self._retire(live, now=now)
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
            self._retire_ready(index, now=now)

    def forget(self, ref: IndexRef) -> None:
        """Remove the retired index versions whose passages are deleted."""
        self.indexes = tuple(
            index for index in self.indexes if index.passages != ref.number or index.state is not IndexState.RETIRED
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

    def _rank_anew(self, *, now: datetime) -> None:
        """Start an index version that ranks by the new settings, unless one is being built, which then does."""
        building = False
        for index in self.indexes:
            if index.passages_of and index.live_time is None and index.receives_updates:  # ranks by older ones
                retire = self._retire_ready if index.state is IndexState.READY else self._retire
                retire(index, now=now)
            elif index.state is IndexState.BUILDING:
                self._change(index.number, search=None)
                building = True
        newest = self._newest
        if newest and not building and newest.search != self.search:
            begun = replace(
                newest,
                number=self.last_index + 1,
                state=IndexState.BUILDING,
                passages_of=newest.passages,
                search=None,
                create_time=now,
                live_time=None,
                message="",
            )
            self._add(begun, now=now)

    @property
    def _newest(self) -> IndexVersion | None:
        """Return what is made of the latest settings, be it that it waits to be promoted first; or what is live."""
        waits = (each for each in reversed(self.indexes) if each.state is IndexState.READY and each.live_time is None)
        return next((each for each in waits if each.made_of == self.made_of), self.live)

    def _add(self, begun: IndexVersion, *, now: datetime) -> None:
        self.indexes, self.last_index = (*self.indexes, begun), begun.number
        self.pending.append(IndexBuildStarted(occurred_at=now, index=begun.number, embedding=begun.embedding))

    def _serve(
        self, number: int, *, replaced: IndexVersion | None, documents: int, promoted: bool, now: datetime
    ) -> None:
        self._change(number, state=IndexState.LIVE, live_time=now, expire_time=None)
        before = replaced.number if replaced else 0
        self.pending.append(
            IndexWentLive(occurred_at=now, index=number, replaced=before, documents=documents, promoted=promoted)
        )

    def _retire_beyond(self, max_ready: int, *, now: datetime) -> None:
        """Retire the oldest of the READY index versions that are too many, by their passages.

        Those that search the passages of the live one take no space, and are not counted.
        """
        ready = [index for index in self.indexes if index.state is IndexState.READY]
        live = self.live.passages if self.live and max_ready else 0
        theirs = list(dict.fromkeys(index.passages for index in ready if index.passages != live))
        for index in ready:
            if index.passages in theirs[: max(0, len(theirs) - max_ready)]:
                self._retire_ready(index, now=now)

    def _retire_ready(self, index: IndexVersion, *, now: datetime) -> None:
        self._retire(index, now=now)
        self.pending.append(IndexRetired(occurred_at=now, index=index.number))

    def _retire(self, index: IndexVersion, *, now: datetime) -> None:
        """Retire an index version. Where another one searches its passages, nothing is left of it to be deleted."""
        others = [each for each in self.searching(self.ref(index.number)) if each.number != index.number]
        if any(each.receives_updates for each in others):
            self.indexes = tuple(each for each in self.indexes if each.number != index.number)
        else:
            self._change(index.number, state=IndexState.RETIRED, retire_time=now)

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
    sparse: Sparse = _NO_TERMS
    search: SearchSettings = _DEFAULT_SEARCH
    go_live: GoLive = GoLive.WHEN_COMPLETE
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def made_of(self) -> MadeOf:
        """Return what points are made of by these settings."""
        return MadeOf(sources=self.sources, embedding=self.resolved, chunking=self.chunking, sparse=self.sparse)
