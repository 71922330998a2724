"""Create a collection and start its first index version."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Request
from tidemill_core.errors import NotFound
from tidemill_rag.application.ports import Collections, Enqueue
from tidemill_rag.application.resolve_settings import CollectionSpec, ResolveSettings
from tidemill_rag.domain.collection import Collection
from tidemill_rag.domain.errors import CollectionExists


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
