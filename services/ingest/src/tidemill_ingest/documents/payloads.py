"""Documents' events as the contract has them: ce_type and message."""

from typing import TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from tidemill.ingest.v1 import document_pb2, events_pb2
from tidemill_core.aggregate import Event
from tidemill_ingest.documents.domain.document import Document
from tidemill_ingest.documents.domain.events import (
    DocumentWasDeleted,
    DocumentWasIngested,
    DocumentWasRejected,
    DocumentWasUpdated,
)
from tidemill_ingest.documents.domain.submission import Submission
from tidemill_ingest.documents.domain.version import Version

INGESTED = "tidemill.ingest.document.ingested.v1"
UPDATED = "tidemill.ingest.document.updated.v1"
DELETED = "tidemill.ingest.document.deleted.v1"
REJECTED = "tidemill.ingest.document.rejected.v1"

Payload = TypeVar(
    "Payload",
    events_pb2.DocumentIngested,
    events_pb2.DocumentUpdated,
    events_pb2.DocumentDeleted,
    events_pb2.DocumentRejected,
)


def payload_of(document: Document, event: Event, seq: int) -> tuple[str, Message]:
    """Return what is published of a document's event; never text of users."""
    match event:
        case DocumentWasIngested():
            ingested = events_pb2.DocumentIngested(version=_facts(event.version))
            return INGESTED, _named(ingested, document, event.submission, seq)
        case DocumentWasUpdated():
            updated = events_pb2.DocumentUpdated(version=_facts(event.version))
            return UPDATED, _named(updated, document, event.submission, seq)
        case DocumentWasDeleted():
            deleted = events_pb2.DocumentDeleted(erased=event.erased)
            return DELETED, _named(deleted, document, event.submission, seq)
        case DocumentWasRejected():
            rejected = events_pb2.DocumentRejected(reason=event.reason, message=event.message)
            return REJECTED, _named(rejected, document, event.submission, seq)
        case _:
            message = f"{type(event).__name__} is no event of a document"
            raise TypeError(message)


def _named(payload: Payload, document: Document, submission: Submission, seq: int) -> Payload:
    """Return the payload with what all events of a document say."""
    payload.document, payload.seq = document.id, seq
    payload.source, payload.key = document.source, document.key
    payload.submission.CopyFrom(
        events_pb2.SubmissionRef(door=submission.door.value, source=submission.source, id=submission.id)
    )
    return payload


def _facts(version: Version) -> events_pb2.VersionFacts:
    ref, accepted = version.object, Timestamp()
    accepted.FromDatetime(version.accepted_at)
    return events_pb2.VersionFacts(
        number=version.number,
        revision=version.revision,
        media_type=version.media_type,
        language=version.language,
        object=document_pb2.ObjectRef(bucket=ref.bucket, key=ref.key, size=ref.size, sha256=ref.sha256),
        create_time=accepted,
    )
