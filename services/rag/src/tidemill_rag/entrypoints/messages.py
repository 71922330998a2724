"""Mapping between protobuf messages and domain objects."""

from collections.abc import Mapping, Sequence

from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from tidemill.content.v1 import content_pb2
from tidemill.rag.v1 import collection_pb2 as pb
from tidemill.rag.v1 import collection_service_pb2 as service_pb
from tidemill_core.errors import InvalidInput, Violation
from tidemill_kit.grpc.server import etag_of, timestamp_of
from tidemill_rag.application.read_collections import Overview
from tidemill_rag.application.resolve_settings import CollectionSpec
from tidemill_rag.application.vector_store import Match, MetadataValue
from tidemill_rag.domain.collection import Chunking, IndexState, IndexVersion
from tidemill_rag.domain.ledger import Counts, Row

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


def filter_of(message: Struct) -> Mapping[str, Sequence[MetadataValue]]:
    """Return a metadata filter: the accepted values of each field.

    Raises:
        InvalidInput: a value is neither a string, number or boolean nor a list of them.

    """
    violations, accepted = [], {}
    for name, value in MessageToDict(message).items():
        values = value if isinstance(value, list) else [value]
        if not values or not all(isinstance(each, str | int | float | bool) for each in values):
            text = "must be a string, a number, a boolean, or a list of them that is not empty"
            violations.append(Violation(field=f"metadata_filter.{name}", description=text))
        accepted[name] = [_whole(each) for each in values]
    if violations:
        raise InvalidInput.of(*violations)
    return accepted


def _whole(value: MetadataValue) -> MetadataValue:
    """Return 5 for 5.0: a Struct knows only doubles."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


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


def passage_message(position: int, match: Match) -> content_pb2.Passage:
    """Return the passage message; ids count from "1", the best match."""
    payload = match.payload
    return content_pb2.Passage(
        id=str(position),
        document=payload.document,
        version=payload.version,
        start=payload.start,
        end=payload.end,
        text=payload.text,
        score=match.score,
        source=payload.source,
        key=payload.key,
        title=payload.title,
        uri=payload.uri,
        header_start=payload.header_start,
        header_end=payload.header_end,
        also_in=match.also_in,
    )
