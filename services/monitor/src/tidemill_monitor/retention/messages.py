"""Mapping between retention and its messages and events."""

from google.protobuf.message import Message

from tidemill.monitor.v1 import access_events_pb2 as events
from tidemill.monitor.v1 import retention_service_pb2 as pb
from tidemill_core.aggregate import Aggregate, Event
from tidemill_kit.mapping import from_message, to_message
from tidemill_monitor.retention.domain import Retention, RetentionChanged

CHANGED = "tidemill.monitor.access.retention_changed.v1"


def retention_of(message: pb.SetRetentionRequest, project: str) -> Retention:
    """Return what a request sets."""
    return from_message(Retention, message, id="", project=project, labels={}, ignore={"request_id", "validate_only"})


def retention_payload(_: Aggregate, event: Event, seq: int) -> tuple[str, Message]:
    """Return the ce_type and the payload of an event."""
    if not isinstance(event, RetentionChanged):
        raise TypeError(event)
    return CHANGED, to_message(events.RetentionChanged, event, seq=seq)
