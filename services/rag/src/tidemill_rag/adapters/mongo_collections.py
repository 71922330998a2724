"""Collections in MongoDB: the codec, the queries of the controller, and leases."""

from dataclasses import asdict
from typing import Any

from google.protobuf.message import Message

from tidemill.rag.v1 import events_pb2 as events
from tidemill_core.aggregate import Event
from tidemill_core.application import Page
from tidemill_kit.store.aggregates import Identity
from tidemill_kit.store.mongo import Collection as MongoCollection
from tidemill_kit.store.mongo import Document, translated
from tidemill_rag.domain.collection import (
    Chunking,
    Collection,
    CollectionWasDeleted,
    IndexBuildWasStarted,
    IndexRef,
    IndexState,
    IndexVersion,
    IndexWentLive,
)

_UNFINISHED = frozenset({IndexState.BUILDING, IndexState.RETIRED})


class CollectionCodec:
    """Maps collections to documents and back, and events to messages."""

    schema = 1

    def encode(self, aggregate: Collection) -> Document:
        """Return the stored state."""
        return {
            "sources": list(aggregate.sources),
            "embedding": aggregate.embedding,
            "chunking": asdict(aggregate.chunking),
            "last_index": aggregate.last_index,
            "indexes": [
                asdict(index) | {"state": index.state.value, "sources": list(index.sources)}
                for index in aggregate.indexes
            ],
        }

    def decode(self, identity: Identity, state: Document, schema: int) -> Collection:  # noqa: ARG002 - there is one
        """Return the collection."""
        return Collection(
            **identity.fields(),
            sources=tuple(state["sources"]),
            embedding=state["embedding"],
            chunking=Chunking(**state["chunking"]),
            last_index=state["last_index"],
            indexes=tuple(_index(stored) for stored in state["indexes"]),
        )

    def event(self, aggregate: Collection, event: Event, seq: int) -> tuple[str, Message]:
        """Return the ce_type and the payload."""
        match event:
            case IndexBuildWasStarted():
                return "tidemill.rag.index.build_started.v1", events.IndexBuildStarted(
                    collection=aggregate.id, seq=seq, index=event.index, embedding=event.embedding
                )
            case IndexWentLive():
                return "tidemill.rag.index.went_live.v1", events.IndexWentLive(
                    collection=aggregate.id,
                    seq=seq,
                    index=event.index,
                    replaced=event.replaced,
                    documents=event.documents,
                )
            case CollectionWasDeleted():
                return "tidemill.rag.index.collection_deleted.v1", events.CollectionDeleted(
                    collection=aggregate.id, seq=seq
                )
            case _:
                raise TypeError(event)


class PendingIndexes:
    """Finds index versions for the controller: all of them once, as each process compares their points with the ledger.

    After that, those that are building or retired, or whose counters show pending rows.
    """

    def __init__(self, collections: MongoCollection, ledger_counts: MongoCollection) -> None:
        self._collections = collections
        self._ledger_counts = ledger_counts
        self._all_seen = False

    async def ensure_indexes(self) -> None:
        """Create the MongoDB indexes for unfinished index versions; idempotent."""
        with translated():
            await self._collections.create_index([("state.indexes.state", 1)])
            await self._ledger_counts.create_index([("pending", 1)])

    async def __call__(self, _token: str, /, *, without: frozenset[str]) -> Page[IndexRef]:
        """See `controller.Pending`; there is one page."""
        if self._all_seen:
            return Page(items=[each for each in await self._unfinished() if each.project not in without])
        page = Page(items=await self._found({}, frozenset(IndexState)))
        self._all_seen = True
        return page

    async def _unfinished(self) -> list[IndexRef]:
        where = {"state.indexes.state": {"$in": [state.value for state in _UNFINISHED]}}
        with translated():
            # Not {"$ne": 0}, which would scan the whole index.
            waiting = {"$or": [{"pending": {"$gt": 0}}, {"pending": {"$lt": 0}}]}
            keys = [document["_id"] async for document in self._ledger_counts.find(waiting, {"_id": True})]
        named = [key.split("/") for key in keys]
        pending = [IndexRef(project=project, collection=name, number=int(number)) for project, name, number in named]
        return [*await self._found(where, _UNFINISHED), *pending]

    async def _found(self, where: Document, states: frozenset[IndexState]) -> list[IndexRef]:
        fields = {"project": True, "id": True, "state.indexes.number": True, "state.indexes.state": True}
        with translated():
            return [
                IndexRef(project=document["project"], collection=document["id"], number=index["number"])
                async for document in self._collections.find(where, fields)
                for index in document["state"].get("indexes", [])
                if IndexState(index["state"]) in states
            ]


def _index(stored: dict[str, Any]) -> IndexVersion:
    return IndexVersion(
        **stored
        | {
            "state": IndexState(stored["state"]),
            "sources": tuple(stored["sources"]),
            "chunking": Chunking(**stored["chunking"]),
        }
    )
