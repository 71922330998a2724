"""Delete a collection. Searches fail immediately; index versions are deleted in the background."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Request
from tidemill_core.errors import Conflict
from tidemill_rag.application.ports import Collections, Enqueue
from tidemill_rag.domain.collection import Collection


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
