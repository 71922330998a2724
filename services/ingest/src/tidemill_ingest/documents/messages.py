"""The contract's messages and what they mean inside."""

from collections.abc import Mapping

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from tidemill.ingest.v1 import document_pb2, document_service_pb2, source_pb2
from tidemill_core.aggregate import ObjectRef
from tidemill_core.errors import InvalidInput, Violation, named
from tidemill_ingest.documents.domain.document import Document, DocumentState, Step
from tidemill_ingest.documents.domain.submission import DocumentSpec, Fact, media_type_of
from tidemill_ingest.documents.domain.version import Version
from tidemill_ingest.masking.kinds import Masking, MaskKind
from tidemill_ingest.sources.domain import Source
from tidemill_kit.grpc.requests import etag_of, timestamp_of

_STATES = {
    DocumentState.NEW: document_pb2.DOCUMENT_STATE_UNSPECIFIED,
    DocumentState.ACTIVE: document_pb2.DOCUMENT_STATE_ACTIVE,
    DocumentState.DELETED: document_pb2.DOCUMENT_STATE_DELETED,
    DocumentState.REJECTED: document_pb2.DOCUMENT_STATE_REJECTED,
}


def required(message: Message, field: str) -> None:
    """Refuse a request that lacks a message in it.

    Raises:
        InvalidInput: naming the field.

    """
    if not message.HasField(field):
        raise InvalidInput.of(Violation(field=field, description="is missing"))


def source_of(message: source_pb2.Source, project: str) -> Source:
    """Return the source that a caller describes.

    Raises:
        InvalidInput: the masking names a kind that does not exist.

    """
    masking = Masking.of(message.masking.kinds, none=message.masking.none)
    return Source(
        id=message.id,
        project=project,
        labels=dict(message.labels),
        events=message.events,
        masking=masking,
        retention_days=message.retention_days,
    )


def source_message(source: Source) -> source_pb2.Source:
    """Return the message of a source; its masking is written out, but for the default of masking everything."""
    kinds = source.masking.kinds
    everything = kinds == frozenset(MaskKind)
    masking = source_pb2.Masking(kinds=[] if everything else source.masking.names, none=not kinds)
    return source_pb2.Source(
        id=source.id,
        project=source.project,
        seq=source.seq,
        etag=etag_of(source.version),
        labels=source.labels,
        create_time=timestamp_of(source.create_time),
        update_time=timestamp_of(source.update_time),
        events=source.events,
        masking=None if everything else masking,
        retention_days=source.retention_days,
    )


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
