"""Documents: the contract's messages and events, and what they mean inside."""

from collections.abc import Mapping
from typing import TypeVar

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from tidemill.ingest.v1 import document_pb2, document_service_pb2, events_pb2
from tidemill_core.aggregate import Event, ObjectRef
from tidemill_core.errors import InvalidInput, Violation, named
from tidemill_ingest.documents.domain.document import Document, DocumentState, Step
from tidemill_ingest.documents.domain.events import (
    DocumentDeleted,
    DocumentIngested,
    DocumentRejected,
    DocumentUpdated,
)
from tidemill_ingest.documents.domain.submission import DocumentSpec, Fact, Submission, media_type_of
from tidemill_ingest.documents.domain.version import Version
from tidemill_kit.grpc.requests import etag_of, timestamp_of

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

_STATES = {
    DocumentState.NEW: document_pb2.DOCUMENT_STATE_UNSPECIFIED,
    DocumentState.ACTIVE: document_pb2.DOCUMENT_STATE_ACTIVE,
    DocumentState.DELETED: document_pb2.DOCUMENT_STATE_DELETED,
    DocumentState.REJECTED: document_pb2.DOCUMENT_STATE_REJECTED,
}


def spec_of(message: document_service_pb2.DocumentSpec) -> DocumentSpec:
    """Return what a caller says about a document.

    Raises:
        InvalidInput: metadata that is not flat.

    """
    return DocumentSpec(
        source=message.source,
        key=message.key,
        media_type=media_type_of(message.media_type),
        title=message.title,
        uri=message.uri,
        language=message.language,
        readers=tuple(message.readers),
        metadata=_facts(message.metadata),
        revision=message.revision,
    )


def document_message(document: Document) -> document_pb2.Document:
    """Return the message of a document."""
    rejection = document.last_rejection
    return document_pb2.Document(
        id=document.id,
        project=document.project,
        seq=document.seq,
        etag=etag_of(document.version),
        create_time=timestamp_of(document.create_time),
        update_time=timestamp_of(document.update_time),
        source=document.source,
        key=document.key,
        state=_STATES[document.state],
        current=version_message(document.current) if document.current else None,
        version_count=document.version_count,
        last_rejection=document_pb2.Rejection(
            reason=rejection.reason,
            message=rejection.message,
            submission_id=rejection.submission_id,
            reject_time=timestamp_of(rejection.rejected_at),
        )
        if rejection
        else None,
    )


def version_message(version: Version) -> document_pb2.DocumentVersion:
    """Return the message of a version."""
    metadata = Struct()
    metadata.update(version.metadata)
    provenance = version.provenance
    return document_pb2.DocumentVersion(
        number=version.number,
        revision=version.revision,
        media_type=version.media_type,
        title=version.title,
        uri=version.uri,
        language=version.language,
        readers=version.readers,
        metadata=metadata,
        object=_object_message(version.object),
        create_time=timestamp_of(version.accepted_at),
        provenance=document_pb2.Provenance(
            door=provenance.submission.door.value,
            submission_id=provenance.submission.id,
            submission_source=provenance.submission.source,
            body_digest=provenance.body_digest,
            steps=provenance.steps,
            masked=provenance.masked,
        ),
    )


def step_message(step: Step, *, published: bool) -> document_service_pb2.DocumentStep:
    """Return the message of a step; one without an event is never published."""
    times = f" ({step.times} times)" if step.times > 1 else ""
    return document_service_pb2.DocumentStep(
        time=timestamp_of(step.time),
        happened=step.happened.value,
        version=step.version,
        message=step.message + times,
        submission_id=step.submission_id,
        published=published,
    )


def _object_message(ref: ObjectRef) -> document_pb2.ObjectRef | None:
    if not ref.key:
        return None
    return document_pb2.ObjectRef(bucket=ref.bucket, key=ref.key, size=ref.size, sha256=ref.sha256)


def _facts(struct: Struct) -> Mapping[str, Fact]:
    facts: dict[str, Fact] = {}
    for name, value in struct.fields.items():
        match value.WhichOneof("kind"):
            case "string_value":
                facts[name] = value.string_value
            case "number_value":
                facts[name] = value.number_value
            case "bool_value":
                facts[name] = value.bool_value
            case _:
                text = "is no string, number or boolean: metadata is flat"
                raise InvalidInput.of(Violation(field=f"spec.metadata[{named(name)}]", description=text))
    return facts


def payload_of(document: Document, event: Event, seq: int) -> tuple[str, Message]:
    """Return what is published of a document's event; never text of users."""
    match event:
        case DocumentIngested():
            ingested = events_pb2.DocumentIngested(version=_version_facts(event.version))
            return INGESTED, _named(ingested, document, event.submission, seq)
        case DocumentUpdated():
            updated = events_pb2.DocumentUpdated(version=_version_facts(event.version))
            return UPDATED, _named(updated, document, event.submission, seq)
        case DocumentDeleted():
            deleted = events_pb2.DocumentDeleted(erased=event.erased)
            return DELETED, _named(deleted, document, event.submission, seq)
        case DocumentRejected():
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


def _version_facts(version: Version) -> events_pb2.VersionFacts:
    return events_pb2.VersionFacts(
        number=version.number,
        revision=version.revision,
        media_type=version.media_type,
        language=version.language,
        object=_object_message(version.object),
        create_time=timestamp_of(version.accepted_at),
    )
