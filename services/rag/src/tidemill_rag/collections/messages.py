"""Mapping between protobuf messages and domain objects."""

from tidemill.rag.v1 import collection_pb2 as pb
from tidemill.rag.v1 import collection_service_pb2 as service_pb
from tidemill_kit.grpc.server import etag_of, timestamp_of
from tidemill_rag.collections.crud import Overview
from tidemill_rag.collections.domain import Chunking, IndexState, IndexVersion
from tidemill_rag.collections.resolve_settings import CollectionSpec
from tidemill_rag.indexing.domain.ledger import Counts, Row

STATES = {
    IndexState.BUILDING: pb.INDEX_STATE_BUILDING,
    IndexState.LIVE: pb.INDEX_STATE_LIVE,
    IndexState.RETIRED: pb.INDEX_STATE_RETIRED,
}
_NO_VERSION = -1
"""Matches no stored version: the etag was not issued by this service."""


def spec_of(message: pb.Collection) -> CollectionSpec:
    """Return the spec in a collection message."""
    chunking = message.chunking
    return CollectionSpec(
        collection=message.id,
        sources=tuple(message.sources),
        embedding=message.embedding,
        by=chunking.by,
        max_tokens=chunking.max_tokens,
        overlap_tokens=chunking.overlap_tokens if chunking.HasField("overlap_tokens") else None,
        labels=dict(message.labels),
    )


def version_of(etag: str) -> int:
    """Return the version that an etag stands for; 0 for an empty one."""
    if not etag:
        return 0
    return int(etag) if etag.isdecimal() else _NO_VERSION


def collection_message(overview: Overview) -> pb.Collection:
    """Return the collection message."""
    collection = overview.collection
    return pb.Collection(
        id=collection.id,
        project=collection.project,
        seq=collection.seq,
        etag=etag_of(collection.version),
        labels=collection.labels,
        create_time=timestamp_of(collection.create_time),
        update_time=timestamp_of(collection.update_time),
        sources=collection.sources,
        embedding=collection.embedding,
        chunking=_chunking_message(collection.chunking),
        live_index=collection.live.number if collection.live else 0,
        indexes=[_index_message(index, overview.counts.get(index.number, Counts())) for index in collection.indexes],
    )


def _chunking_message(chunking: Chunking) -> pb.Chunking:
    return pb.Chunking(by=chunking.by, max_tokens=chunking.max_tokens, overlap_tokens=chunking.overlap_tokens)


def _index_message(index: IndexVersion, counts: Counts) -> pb.IndexVersion:
    return pb.IndexVersion(
        number=index.number,
        state=STATES[index.state],
        embedding=index.embedding,
        chunking=_chunking_message(index.chunking),
        documents_wanted=counts.desired,
        documents_indexed=counts.indexed,
        documents_failed=counts.failed,
        chunks=counts.chunks,
        create_time=timestamp_of(index.create_time),
        live_time=timestamp_of(index.live_time),
        message=index.message,
    )


def document_message(index: int, row: Row) -> service_pb.IndexedDocument:
    """Return the indexing status of a document."""
    return service_pb.IndexedDocument(
        index=index,
        wanted_seq=row.desired.seq,
        indexed_seq=row.indexed_seq,
        chunks=row.chunks,
        message=row.failure or (row.note if row.desired.content else "deleted"),
    )
