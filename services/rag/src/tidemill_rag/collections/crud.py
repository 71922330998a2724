"""Create, read, update and delete collections. Index versions are built and deleted in the background."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, replace

from tidemill_core.application import Caller, Clock, Page, PageRequest, Request
from tidemill_core.errors import Conflict, NotFound
from tidemill_rag.collections.domain import Collection, Settings
from tidemill_rag.collections.ports import Collections, Enqueue, found
from tidemill_rag.collections.resolve_settings import CollectionSpec, ResolveSettings
from tidemill_rag.errors import CollectionExists
from tidemill_rag.indexing.domain.ledger import Counts, Row
from tidemill_rag.indexing.ports import Ledger

CHANGEABLE = frozenset({"sources", "embedding", "chunking", "labels"})

_ATTEMPTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateCollection:
    """Emits IndexBuildWasStarted. The id of a deleted collection can be reused; its index numbers continue."""

    collections: Collections
    resolve: ResolveSettings
    clock: Clock
    enqueue: Enqueue

    async def __call__(
        self, caller: Caller, spec: CollectionSpec, *, request: Request, validate_only: bool = False
    ) -> Collection:
        """Return the collection as created, or as it would be.

        Raises:
            CollectionExists: the id is taken.
            InvalidInput: a setting is wrong.
            NotFound: there is no such embedding model.

        """
        settings = await self.resolve(caller.project, spec)
        fresh = Collection(id=spec.collection, project=caller.project)
        now = self.clock.now()
        if validate_only:
            await self._refuse_existing(caller.project, spec.collection)
            fresh.begin(settings, now=now)
            return fresh
        created = await self.collections.upsert(
            fresh, lambda collection: collection.begin(settings, now=now), request=request
        )
        self.enqueue(created.ref(created.last_index))
        return created

    async def _refuse_existing(self, project: str, collection_id: str) -> None:
        try:
            await self.collections.get(project, collection_id)
        except NotFound:
            return
        raise CollectionExists(collection_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A collection, and the counters of its index versions."""

    collection: Collection
    counts: Mapping[int, Counts]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadCollections:
    """Read-only."""

    collections: Collections
    ledger: Ledger

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


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateCommand:
    """`fields` selects what is read from `spec`; `version` 0 matches any."""

    spec: CollectionSpec
    fields: AbstractSet[str]
    version: int
    request: Request
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateCollection:
    """Emits IndexBuildWasStarted if sources, embedding or chunking change, not for labels alone.

    An unchanged reference to the embedding model keeps the version that it resolved to; only RebuildIndex resolves it
    again. Applying the same settings twice therefore rebuilds nothing.
    """

    collections: Collections
    resolve: ResolveSettings
    clock: Clock
    enqueue: Enqueue

    async def __call__(self, caller: Caller, command: UpdateCommand) -> Collection:
        """Return the updated collection, or with `validate_only` a preview.

        Raises:
            CollectionNotFound: the caller's project has none with this id.
            Conflict: the collection has another version.
            InvalidInput: a setting is wrong.

        """
        for _ in range(_ATTEMPTS):
            current = await self.collections.get(caller.project, command.spec.collection)
            spec = _merged(current, command)
            known = current.indexes[-1].embedding if current.indexes and spec.embedding == current.embedding else ""
            settings = await self.resolve(caller.project, spec, known=known)
            if command.validate_only:
                self._configure(current, settings, command, merged_with=current.version)
                return current
            with suppress(_MergedTooLate):
                return await self._change(caller, command, settings, merged_with=current.version)
        message = f"collection {command.spec.collection} is being updated concurrently: try again"
        raise Conflict(message, collection=command.spec.collection)

    async def _change(
        self, caller: Caller, command: UpdateCommand, settings: Settings, *, merged_with: int
    ) -> Collection:
        changed = await self.collections.update(
            caller.project,
            command.spec.collection,
            lambda collection: self._configure(collection, settings, command, merged_with=merged_with),
            request=command.request,
        )
        self.enqueue(changed.ref(changed.last_index))
        return changed

    def _configure(
        self, collection: Collection, settings: Settings, command: UpdateCommand, *, merged_with: int
    ) -> None:
        if command.version and command.version != collection.version:
            message = f"collection {collection.id} changed since: read it again and decide again"
            raise Conflict(message, collection=collection.id)
        if collection.version != merged_with:
            raise _MergedTooLate(collection.id)
        collection.configure(settings, now=self.clock.now())


class _MergedTooLate(Conflict):
    """The collection changed after its current settings were merged with the update."""


def _merged(current: Collection, command: UpdateCommand) -> CollectionSpec:
    """Return the current settings with the named ones replaced."""
    merged = CollectionSpec(
        collection=current.id,
        sources=current.sources,
        embedding=current.embedding,
        by=current.chunking.by,
        max_tokens=current.chunking.max_tokens,
        overlap_tokens=current.chunking.overlap_tokens,
        labels=current.labels,
    )
    spec = command.spec
    if "sources" in command.fields:
        merged = replace(merged, sources=spec.sources)
    if "embedding" in command.fields:
        merged = replace(merged, embedding=spec.embedding)
    if "chunking" in command.fields:
        merged = replace(merged, by=spec.by, max_tokens=spec.max_tokens, overlap_tokens=spec.overlap_tokens)
    if "labels" in command.fields:
        merged = replace(merged, labels=spec.labels)
    return merged


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteCollection:
    """Emits CollectionWasDeleted."""

    collections: Collections
    clock: Clock
    enqueue: Enqueue

    async def __call__(
        self, caller: Caller, collection_id: str, *, version: int, request: Request, validate_only: bool = False
    ) -> Collection:
        """Return the deleted collection; `version` 0 matches any.

        Raises:
            CollectionNotFound: the caller's project has none with this id.
            Conflict: the collection has another version.

        """

        def delete(collection: Collection) -> None:
            if version and version != collection.version:
                message = f"collection {collection_id} changed since: read it again and decide again"
                raise Conflict(message, collection=collection_id)
            collection.delete(now=self.clock.now())

        if validate_only:
            current = await self.collections.get(caller.project, collection_id)
            delete(current)
            return current
        deleted = await self.collections.update(caller.project, collection_id, delete, request=request)
        for index in deleted.indexes:
            self.enqueue(deleted.ref(index.number))
        return deleted
