"""Collections in MongoDB: the codec, the queries of the controller, and leases."""

from dataclasses import asdict
from typing import Any

from google.protobuf.message import Message

from tidemill.rag.v1 import events_pb2 as events
from tidemill_core.aggregate import Event
from tidemill_kit.store.aggregates import Identity
from tidemill_kit.store.mongo import Document
from tidemill_rag.collections.domain import (
    Chunking,
    Collection,
    CollectionWasDeleted,
    IndexBuildWasStarted,
    IndexState,
    IndexVersion,
    IndexWentLive,
)


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


def _index(stored: dict[str, Any]) -> IndexVersion:
    return IndexVersion(
        **stored
        | {
            "state": IndexState(stored["state"]),
            "sources": tuple(stored["sources"]),
            "chunking": Chunking(**stored["chunking"]),
        }
    )
