"""Collections, index versions and their events as messages."""

from dataclasses import replace

from google.protobuf.message import Message

from tidemill.rag.v1 import collection_pb2 as pb
from tidemill.rag.v1 import collection_service_pb2 as service_pb
from tidemill.rag.v1 import events_pb2 as events
from tidemill_core.aggregate import Event
from tidemill_kit.mapping import from_message, to_message
from tidemill_rag.collections.crud import Overview
from tidemill_rag.collections.domain.collection import Collection
from tidemill_rag.collections.domain.events import (
    CollectionDeleted,
    IndexBecameReady,
    IndexBuildStarted,
    IndexRetired,
    IndexWentLive,
)
from tidemill_rag.collections.domain.index_version import IndexVersion
from tidemill_rag.collections.resolve_settings import CollectionSpec
from tidemill_rag.indexing.domain.ledger import Counts, Row

_EVENTS: dict[type[Event], tuple[str, type[Message]]] = {
    IndexBuildStarted: ("tidemill.rag.index.build_started.v1", events.IndexBuildStarted),
    IndexWentLive: ("tidemill.rag.index.went_live.v1", events.IndexWentLive),
    IndexBecameReady: ("tidemill.rag.index.became_ready.v1", events.IndexBecameReady),
    IndexRetired: ("tidemill.rag.index.retired.v1", events.IndexRetired),
    CollectionDeleted: ("tidemill.rag.index.collection_deleted.v1", events.CollectionDeleted),
}


def payload_of(collection: Collection, event: Event, seq: int) -> tuple[str, Message]:
    """Return the ce_type of an event, and its message."""
    ce_type, message = _EVENTS[type(event)]
    return ce_type, to_message(message, event, collection=collection.id, seq=seq)


def spec_of(message: pb.Collection) -> CollectionSpec:
    """Return the spec in a collection message."""
    return from_message(CollectionSpec, message, ignore={"project", "live_index", "indexes"})


def collection_message(overview: Overview) -> pb.Collection:
    """Return the collection message."""
    collection = overview.collection
    return to_message(
        pb.Collection,
        collection,
        live_index=collection.live.number if collection.live else 0,
        indexes=[
            _index_message(
                replace(index, search=collection.ranking(index)), overview.counts.get(index.number, Counts())
            )
            for index in collection.indexes
        ],
    )


def _index_message(index: IndexVersion, counts: Counts) -> pb.IndexVersion:
    return to_message(
        pb.IndexVersion,
        index,
        counts,
        documents_wanted=counts.desired,
        documents_indexed=counts.indexed,
        documents_failed=counts.failed,
    )


def document_message(index: int, row: Row) -> service_pb.IndexedDocument:
    """Return the indexing status of a document."""
    return to_message(
        service_pb.IndexedDocument,
        row,
        index=index,
        wanted_seq=row.desired.seq,
        message=row.failure or (row.note if row.desired.content else "deleted"),
    )
