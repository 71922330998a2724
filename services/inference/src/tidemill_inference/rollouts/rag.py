"""Which index version of a collection is live, and making another one live."""

import grpc

from tidemill.rag.v1 import collection_pb2, collection_service_pb2, collection_service_pb2_grpc
from tidemill_core.application import Caller
from tidemill_core.errors import Conflict, DependencyUnavailable, InvalidInput, NotFound, PreconditionFailed
from tidemill_core.grpc.context import acting_as
from tidemill_inference.rollouts.domain.changes import IndexChange
from tidemill_inference.rollouts.domain.errors import IndexNotReady

_SEARCHABLE = frozenset({collection_pb2.INDEX_STATE_READY, collection_pb2.INDEX_STATE_LIVE})


class RagIndexes:
    """Implements `ports.Indexes`."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout_s: float) -> None:
        self._collections = collection_service_pb2_grpc.CollectionServiceStub(channel)
        self._timeout_s = timeout_s

    async def live(self, caller: Caller, collection: str, index: int) -> int:
        """See `Indexes.live`."""
        found = await self._collection(caller, collection, index)
        if index not in {each.number for each in found.indexes if each.state in _SEARCHABLE}:
            raise IndexNotReady(collection, index, why="rag has no such version that is ready")
        return found.live_index

    async def promote(self, caller: Caller, change: IndexChange) -> None:
        """See `Indexes.promote`."""
        found = await self._collection(caller, change.collection, change.number)
        if found.live_index == change.pending != change.before:
            return  # else it is called all the same: a promotion that was given up on, and comes late, then fails
        change.check_live(found.live_index)
        request = collection_service_pb2.PromoteIndexRequest(
            id=change.collection, index=change.pending, etag=found.etag
        )
        try:
            with acting_as(caller):
                await self._collections.PromoteIndex(request, timeout=self._timeout_s)
        except (NotFound, InvalidInput, PreconditionFailed) as error:
            raise IndexNotReady(change.collection, change.pending, why=error.message) from error
        except Conflict as error:
            message = f"collection {change.collection} is being changed: {error.message}"
            raise DependencyUnavailable(message, dependency="rag") from error

    async def _collection(self, caller: Caller, collection: str, index: int) -> collection_pb2.Collection:
        request = collection_service_pb2.GetCollectionRequest(id=collection)
        try:
            with acting_as(caller):
                return (await self._collections.GetCollection(request, timeout=self._timeout_s)).collection
        except (NotFound, InvalidInput) as error:
            raise IndexNotReady(collection, index, why=error.message) from error
