"""Documents: what the contract's messages and events mean inside, where names differ."""

from collections.abc import Iterator, Mapping, Sequence

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from tidemill.ingest.v1 import document_pb2, document_service_pb2, events_pb2, label_pb2
from tidemill_core.aggregate import Event
from tidemill_core.errors import InvalidInput, named
from tidemill_ingest.documents.domain.document import Document, DocumentState
from tidemill_ingest.documents.domain.events import (
    DocumentDeleted,
    DocumentIngested,
    DocumentRejected,
    DocumentUpdated,
)
from tidemill_ingest.documents.domain.steps import Step
from tidemill_ingest.documents.domain.submission import DocumentSpec, Fact, document_id, media_type_of
from tidemill_ingest.documents.domain.version import Version
from tidemill_ingest.labels.domain import ItemLabels, LabelValue
from tidemill_ingest.members import member_key
from tidemill_kit.mapping import from_message, to_message

INGESTED = "tidemill.ingest.document.ingested.v1"
UPDATED = "tidemill.ingest.document.updated.v1"
DELETED = "tidemill.ingest.document.deleted.v1"
REJECTED = "tidemill.ingest.document.rejected.v1"
_PAYLOADS: Mapping[type[Event], tuple[str, type[Message]]] = {
    DocumentIngested: (INGESTED, events_pb2.DocumentIngested),
    DocumentUpdated: (UPDATED, events_pb2.DocumentUpdated),
    DocumentDeleted: (DELETED, events_pb2.DocumentDeleted),
    DocumentRejected: (REJECTED, events_pb2.DocumentRejected),
}


def spec_of(message: document_service_pb2.DocumentSpec) -> DocumentSpec:
    """Return what a caller says about a document.

    Raises:
        InvalidInput: metadata that is not flat.

    """
    return from_message(
        DocumentSpec, message, media_type=media_type_of(message.media_type), metadata=_facts(message.metadata)
    )


def document_message(document: Document) -> document_pb2.Document:
    """Return the message of a document."""
    is_new = document.state is DocumentState.NEW
    return to_message(
        document_pb2.Document,
        document,
        state=0 if is_new else document_pb2.DocumentState.Value(f"DOCUMENT_STATE_{document.state.name}"),
        current=version_message(document.current) if document.current else None,
        withheld=_withheld_message(document.withheld) if document.withheld else None,
        duplicate_of=document.newest.duplicate if document.newest else None,
    )


def _withheld_message(version: Version) -> document_pb2.Withheld:
    return to_message(document_pb2.Withheld, version, version=version.number, breaches=version.withheld)


def member_messages(document: Document) -> Iterator[document_pb2.DocumentMember]:
    """Yield the messages of a document's members."""
    for each in document.contents.members:
        key = member_key(document.key, each.path)
        yield to_message(
            document_pb2.DocumentMember,
            each,
            document=document_id(document.project, document.source, key),
            key=key,
        )


def label_messages(document: Document, found: Sequence[ItemLabels]) -> Iterator[label_pb2.DocumentLabel]:
    """Yield a message for each label of a document."""
    for item in found:
        earlier = bool(document.current and item.resolve_time and item.resolve_time < document.current.create_time)
        for each in item.labels:
            value = {_kind_of(each.value): each.value}
            yield to_message(label_pb2.DocumentLabel, item, field=each.field, earlier_version=earlier, **value)


def _kind_of(value: LabelValue) -> str:
    match value:
        case bool():
            return "boolean"
        case str():
            return "category"
        case _:
            return "number"


def version_message(version: Version) -> document_pb2.DocumentVersion:
    """Return the message of a version; a text that is not stored has no object."""
    provenance, submission = version.provenance, version.provenance.submission
    return to_message(
        document_pb2.DocumentVersion,
        version,
        object=version.object if version.object.key else None,
        provenance=to_message(
            document_pb2.Provenance,
            provenance,
            submission,
            submission_id=submission.id,
            submission_source=submission.source,
        ),
    )


def step_message(step: Step, *, published: bool) -> document_service_pb2.DocumentStep:
    """Return the message of a step; one without an event is never published."""
    times = f" ({step.times} times)" if step.times > 1 else ""
    return to_message(document_service_pb2.DocumentStep, step, message=step.message + times, published=published)


def payload_of(document: Document, event: Event, seq: int) -> tuple[str, Message]:
    """Return ce_type and payload of a document's event; never text of users."""
    ce_type, message = _PAYLOADS[type(event)]
    return ce_type, to_message(message, event, document, document=document.id, seq=seq)


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
                text = "is not a string, number or boolean: metadata is flat"
                raise InvalidInput.at(field=f"spec.metadata[{named(name)}]", text=text)
    return facts
