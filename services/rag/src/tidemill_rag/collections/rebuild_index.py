"""Start a new index version beside the live one."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Request
from tidemill_rag.collections.domain import Collection
from tidemill_rag.collections.ports import Collections, Enqueue
from tidemill_rag.embedding.ports import EmbeddingModels


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildIndex:
    """Emits IndexBuildWasStarted. A model reference without a version resolves to the newest one."""

    collections: Collections
    models: EmbeddingModels
    clock: Clock
    enqueue: Enqueue

    async def __call__(
        self, caller: Caller, collection_id: str, *, request: Request, validate_only: bool = False
    ) -> Collection:
        """Return the collection with the new index version, or with `validate_only` a preview.

        Raises:
            CollectionNotFound: the caller's project has none with this id.
            NotFound: its embedding model does not exist.

        """
        current = await self.collections.get(caller.project, collection_id)
        model = await self.models.resolve(caller.project, current.embedding)
        now = self.clock.now()
        if validate_only:
            current.rebuild(model.reference, now=now)
            return current
        rebuilt = await self.collections.update(
            caller.project,
            collection_id,
            lambda collection: collection.rebuild(model.reference, now=now),
            request=request,
        )
        for index in rebuilt.indexes:
            self.enqueue(rebuilt.ref(index.number))
        return rebuilt
