"""Update a collection's settings."""

from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, replace

from tidemill_core.application import Caller, Clock, Request
from tidemill_core.errors import Conflict
from tidemill_rag.application.ports import Collections, Enqueue
from tidemill_rag.application.resolve_settings import CollectionSpec, ResolveSettings
from tidemill_rag.domain.collection import Collection, Settings

CHANGEABLE = frozenset({"sources", "embedding", "chunking", "labels"})

_ATTEMPTS = 8


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
