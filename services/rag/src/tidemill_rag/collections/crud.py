"""Use cases: create, get, list, update and delete collections, whose index versions a controller builds and drops."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Final

from tidemill_core import resources
from tidemill_core.application import Caller, Clock, Page, PageRequest
from tidemill_core.errors import Conflict
from tidemill_core.resources import Write
from tidemill_rag.collections.domain.collection import Collection, Settings
from tidemill_rag.collections.ports import Collections, Enqueue, found
from tidemill_rag.collections.resolve_settings import ChunkingSpec, CollectionSpec, ResolveSettings, SparseSpec
from tidemill_rag.indexing.domain.ledger import Counts, Row
from tidemill_rag.indexing.ports import Ledger

CHANGEABLE: Final = frozenset(each.name for each in fields(CollectionSpec)) - {"id"}
_ATTEMPTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A collection, and the counters of its index versions."""

    collection: Collection
    counts: Mapping[int, Counts]


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionCrud:
    """Emits IndexBuildStarted where sources, embedding, chunking or sparse vectors change, and CollectionDeleted.

    Where index versions wait for their promotion, other search settings begin one as well.

    An unchanged reference to the embedding model keeps the version that it resolved to; only RebuildIndex resolves it
    again. Applying the same settings twice therefore rebuilds nothing.
    """

    collections: Collections
    ledger: Ledger
    resolve: ResolveSettings
    clock: Clock
    enqueue: Enqueue

    async def create(self, caller: Caller, spec: CollectionSpec, write: Write) -> Collection:
        """Return the collection as created, or as it would be; index numbers go on from a deleted one's.

        Raises:
            CollectionExists: the id is taken.
            InvalidInput: a setting is wrong.
            NotFound: there is no such embedding model.

        """
        settings, now = await self.resolve(caller, spec), self.clock.now()
        fresh = Collection(id=spec.id, project=caller.project)
        created = await resources.create(
            self.collections, fresh, write, begin=lambda collection: collection.begin(settings, now=now)
        )
        if not write.validate_only:
            self.enqueue(created.ref(created.last_index))
        return created

    async def get(self, caller: Caller, collection_id: str) -> Overview:
        """Return one collection.

        Raises:
            CollectionNotFound: the caller's project has none with this id; the error names those that exist.

        """
        return await self.overview(await found(self.collections, caller.project, collection_id))

    async def list(self, caller: Caller, page: PageRequest) -> Page[Overview]:
        """Return a page, oldest first."""
        shown = await self.collections.list(caller.project, page=page)
        return Page(items=await self._overviews(shown.items), next_token=shown.next_token)

    async def update(self, caller: Caller, spec: CollectionSpec, paths: frozenset[str], write: Write) -> Collection:
        """Return the updated collection, or as it would be; `paths` selects what is read from `spec`.

        Raises:
            CollectionNotFound: the caller's project has none with this id.
            Conflict: it changed since the etag.
            InvalidInput: a setting is wrong.

        """
        for _ in range(_ATTEMPTS):
            current = await self.collections.get(caller.project, spec.id)
            merged = replace(_spec_of(current), **{path: getattr(spec, path) for path in paths - _unsaid(spec)})
            made_of = current.made_of
            known = made_of.embedding if made_of and merged.embedding == current.embedding else ""
            settings = await self.resolve(caller, merged, known=known)
            with suppress(_MergedTooLate):
                return await self._configure(current, settings, write)
        message = f"collection {spec.id} is being updated concurrently: try again"
        raise Conflict(message, collection=spec.id)

    async def _configure(self, merged_with: Collection, settings: Settings, write: Write) -> Collection:
        def configure(collection: Collection) -> None:
            if collection.version != merged_with.version:
                raise _MergedTooLate(collection.id)
            collection.configure(settings, now=self.clock.now())

        changed = await resources.update(self.collections, merged_with.project, merged_with.id, configure, write)
        if not write.validate_only:
            self.enqueue(changed.ref(changed.last_index))
        return changed

    async def delete(self, caller: Caller, collection_id: str, write: Write) -> Collection:
        """Return the deleted collection: searches fail at once.

        Raises:
            CollectionNotFound: the caller's project has none with this id.
            Conflict: it changed since the etag.

        """
        deleted = await resources.delete(
            self.collections,
            caller.project,
            collection_id,
            write,
            change=lambda collection: collection.delete(now=self.clock.now()),
        )
        if not write.validate_only:
            for index in deleted.indexes:
                self.enqueue(deleted.ref(index.number))
        return deleted

    async def document(self, caller: Caller, collection_id: str, document: str) -> Sequence[tuple[int, Row]]:
        """Return the indexing status of a document in each index version that has it.

        Raises:
            CollectionNotFound: the caller's project has none with this id.

        """
        collection = await found(self.collections, caller.project, collection_id)
        standing = []
        for index in collection.indexes:
            rows = await self.ledger.rows(collection.ref(index.number), [document])
            if row := rows.get(document):
                standing.append((index.number, row))
        return standing

    async def overview(self, collection: Collection) -> Overview:
        """Return a collection with its counters."""
        [overview] = await self._overviews([collection])
        return overview

    async def _overviews(self, collections: Sequence[Collection]) -> Sequence[Overview]:
        counts = await self.ledger.counts([each.ref(index.number) for each in collections for index in each.indexes])
        return [
            Overview(collection=each, counts={index.number: counts[each.ref(index.number)] for index in each.indexes})
            for each in collections
        ]


class _MergedTooLate(Conflict):
    """The collection changed after its current settings were merged with the update."""


def _unsaid(spec: CollectionSpec) -> set[str]:
    """Return the settings that a spec leaves as they are, though an update names them."""
    said = {"sparse": spec.sparse.by or spec.sparse.languages, "go_live": spec.go_live}
    return {name for name, value in said.items() if not value}


def _spec_of(current: Collection) -> CollectionSpec:
    chunking = current.chunking
    return CollectionSpec(
        id=current.id,
        sources=current.sources,
        embedding=current.embedding,
        chunking=ChunkingSpec(by=chunking.by, max_tokens=chunking.max_tokens, overlap_tokens=chunking.overlap_tokens),
        sparse=SparseSpec(by=current.sparse.by, languages=current.sparse.languages),
        search=current.search,
        go_live=current.go_live,
        labels=current.labels,
    )
