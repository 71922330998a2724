"""Change what a collection is made of."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from tidemill_kit.application import Caller, Clock, Request
from tidemill_kit.errors import Conflict
from tidemill_rag.application.ports import Collections, Wake
from tidemill_rag.application.resolve_settings import ResolveSettings, Wish
from tidemill_rag.domain.collection import Collection, Settings

CHANGEABLE = frozenset({"sources", "embedding", "chunking", "labels"})


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateCommand:
    """`wish` counts where `fields` names it; `version` 0 takes any."""

    wish: Wish
    fields: AbstractSet[str]
    version: int
    request: Request
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateCollection:
    """Emits IndexBuildWasStarted where sources, embedding or chunking change; labels alone begin nothing.

    While the reference to the embedding model is written as before, it goes on meaning the version that it meant:
    only RebuildIndex takes a newer one, so that the same settings again never rebuild anything.
    """

    collections: Collections
    resolve: ResolveSettings
    clock: Clock
    wake: Wake

    async def __call__(self, caller: Caller, command: UpdateCommand) -> Collection:
        """Return the collection as changed, or as it would be.

        Raises:
            CollectionNotFound: the caller's project has none with this id.
            Conflict: it changed since the version that the caller has seen.
            InvalidInput: a setting is wrong.

        """
        current = await self.collections.get(caller.project, command.wish.collection)
        wish = _merged(current, command)
        known = current.indexes[-1].embedding if current.indexes and wish.embedding == current.embedding else ""
        settings = await self.resolve(caller.project, wish, known=known)
        if command.validate_only:
            self._configure(current, settings, command.version)
            return current
        changed = await self.collections.update(
            caller.project,
            current.id,
            lambda collection: self._configure(collection, settings, command.version),
            request=command.request,
        )
        self.wake(changed.ref(changed.last_index))
        return changed

    def _configure(self, collection: Collection, settings: Settings, version: int) -> None:
        if version and version != collection.version:
            message = f"collection {collection.id} changed since: read it again and decide again"
            raise Conflict(message, collection=collection.id)
        collection.configure(settings, now=self.clock.now())


def _merged(current: Collection, command: UpdateCommand) -> Wish:
    """Return the current settings with the named ones replaced."""
    merged = Wish(
        collection=current.id,
        sources=current.sources,
        embedding=current.embedding,
        by=current.chunking.by,
        max_tokens=current.chunking.max_tokens,
        overlap_tokens=current.chunking.overlap_tokens,
        labels=current.labels,
    )
    wish = command.wish
    if "sources" in command.fields:
        merged = replace(merged, sources=wish.sources)
    if "embedding" in command.fields:
        merged = replace(merged, embedding=wish.embedding)
    if "chunking" in command.fields:
        merged = replace(merged, by=wish.by, max_tokens=wish.max_tokens, overlap_tokens=wish.overlap_tokens)
    if "labels" in command.fields:
        merged = replace(merged, labels=wish.labels)
    return merged
