"""Remote models as documents, and their event as a message."""

from google.protobuf.message import Message

from tidemill.inference.v1 import events_pb2
from tidemill_core.aggregate import Event
from tidemill_inference.providers.domain.remote_model import RemoteModelHasChanged, RemoteModelRecord
from tidemill_kit.mapping import DocumentCodec


def payload_of(record: RemoteModelRecord, event: Event, seq: int) -> tuple[str, Message]:
    """Return the ce_type and the payload of an event."""
    if not isinstance(event, RemoteModelHasChanged):
        raise TypeError(event)
    changed = events_pb2.RemoteModelChanged(
        model=record.id,
        seq=seq,
        provider_model=event.identity.provider_model,
        system_fingerprint=event.identity.system_fingerprint,
        previous_provider_model=event.previous.provider_model,
        previous_system_fingerprint=event.previous.system_fingerprint,
    )
    changed.change_time.FromDatetime(event.occurred_at)
    return "tidemill.inference.remote_model.changed.v1", changed


REMOTE_MODELS = DocumentCodec(RemoteModelRecord, event=payload_of)
"""Remote models as they are stored."""
