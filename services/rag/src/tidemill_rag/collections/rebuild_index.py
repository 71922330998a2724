"""Start a new index version beside the live one."""

from dataclasses import dataclass

from tidemill_core import resources
from tidemill_core.application import Caller, Clock
from tidemill_core.resources import Write
from tidemill_rag.collections.domain.collection import Collection
from tidemill_rag.collections.ports import Collections, Enqueue
from tidemill_rag.embedding.ports import EmbeddingModels


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildIndex:
    """Emits IndexBuildStarted. A model reference without a version resolves to the newest one."""

    collections: Collections
    models: EmbeddingModels
    clock: Clock
    enqueue: Enqueue

    async def __call__(self, caller: Caller, collection_id: str, write: Write) -> Collection:
        """Return the collection with the new index version, or as it would be.

        Raises:
            CollectionNotFound: the caller's project has none with this id.
            NotFound: its embedding model does not exist.

        """
        current = await self.collections.get(caller.project, collection_id)
        model, now = await self.models.resolve(caller, current.embedding), self.clock.now()
        rebuilt = await resources.update(
            self.collections,
            caller.project,
            collection_id,
            lambda collection: collection.rebuild(model.reference, quantizes=model.quantizes, now=now),
            write,
        )
        if not write.validate_only:
            for index in rebuilt.indexes:
                self.enqueue(rebuilt.ref(index.number))
        return rebuilt
