"""How a collection is written down, and where the worker finds index versions."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from google.protobuf.message import Message

from tidemill.rag.v1 import events_pb2 as events
from tidemill_kit.aggregates import Identity
from tidemill_kit.domain import Event
from tidemill_kit.jobs import Leases
from tidemill_kit.mongo import Collection as MongoCollection
from tidemill_kit.mongo import Document, translated
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


class CollectionCodec:
    """Collection <-> document, and its events -> messages."""

    schema = 1

    def encode(self, aggregate: Collection) -> Document:
        """Return the state."""
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
            **asdict(identity),
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


class MongoIndexes:
    """Implements `ports.Indexes` by reading the collections of all projects; done at the start and seldom after."""

    def __init__(self, collections: MongoCollection) -> None:
        self._collections = collections

    async def all(self) -> Sequence[IndexRef]:
        """See `Indexes.all`."""
        with translated():
            cursor = self._collections.find({}, {"project": True, "id": True, "state.indexes.number": True})
            found = await cursor.to_list(None)
        return [
            IndexRef(project=document["project"], collection=document["id"], number=index["number"])
            for document in found
            for index in document["state"].get("indexes", [])
        ]


class MongoIndexLeases:
    """Implements `ports.IndexLeases`."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases

    @asynccontextmanager
    async def held(self, index: IndexRef) -> AsyncIterator[int | None]:
        """See `IndexLeases.held`."""
        async with self._leases.held(index.key) as lease:
            yield lease.epoch if lease else None


def _index(stored: dict[str, Any]) -> IndexVersion:
    return IndexVersion(
        **stored
        | {
            "state": IndexState(stored["state"]),
            "sources": tuple(stored["sources"]),
            "chunking": Chunking(**stored["chunking"]),
        }
    )
