"""Mapping between holds and their messages and events."""

from google.protobuf.message import Message

from tidemill.monitor.v1 import access_events_pb2 as events
from tidemill.monitor.v1 import hold_pb2 as pb
from tidemill_core.aggregate import Aggregate, Event
from tidemill_kit.mapping import from_message, to_message
from tidemill_monitor.holds.domain import Hold, HoldChanged

CHANGED = "tidemill.monitor.access.hold_changed.v1"


def hold_of(message: pb.Hold, project: str) -> Hold:
    """Return the hold of a request."""
    return from_message(
        Hold,
        message,
        prefix="hold",
        project=project,
        state=Hold(id="", project="").state,
        creator="",
        releaser="",
        release_time=None,
    )


def hold_payload(_: Aggregate, event: Event, seq: int) -> tuple[str, Message]:
    """Return the ce_type and the payload of an event."""
    if not isinstance(event, HoldChanged):
        raise TypeError(event)
    return CHANGED, to_message(events.HoldChanged, event, seq=seq)
