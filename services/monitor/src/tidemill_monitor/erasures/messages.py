"""Mapping between erasures and their messages and events."""

from google.protobuf.message import Message

from tidemill.monitor.v1 import erasure_events_pb2 as events
from tidemill.monitor.v1 import erasure_pb2 as pb
from tidemill_core.aggregate import Aggregate, Event
from tidemill_kit.mapping import to_message
from tidemill_monitor.erasures.domain.erasure import ErasureWasCertified, ErasureWasRequested
from tidemill_monitor.erasures.read_erasures import ErasureOverview

REQUESTED = "tidemill.monitor.erasure.requested.v1"
CERTIFIED = "tidemill.monitor.erasure.certified.v1"


def erasure_message(overview: ErasureOverview) -> pb.Erasure:
    """Return an erasure as callers see it."""
    return to_message(pb.Erasure, overview.erasure, state=overview.state, hold=overview.hold)


def erasure_payload(_: Aggregate, event: Event, seq: int) -> tuple[str, Message]:
    """Return the ce_type and the payload of an event."""
    if isinstance(event, ErasureWasRequested):
        return REQUESTED, to_message(events.ErasureRequested, event, seq=seq)
    if not isinstance(event, ErasureWasCertified):
        raise TypeError(event)
    return CERTIFIED, to_message(events.ErasureCertified, event, seq=seq)
