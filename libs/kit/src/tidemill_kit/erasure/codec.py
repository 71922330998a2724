"""Erasures as documents, and their completion as an event."""

from datetime import datetime

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from tidemill.monitor.v1.erasure_events_pb2 import ErasureCompleted
from tidemill.monitor.v1.erasure_pb2 import ErasureCount
from tidemill_core.aggregate import Event
from tidemill_kit.access.holds import Scope
from tidemill_kit.erasure.erasures import Completed, Erasure, State
from tidemill_kit.store.aggregates import Identity
from tidemill_kit.store.mongo import Document

COMPLETED = "tidemill.monitor.erasure.completed.v1"
_TIMES = ("request_time", "not_before", "start_time", "complete_time")


class ErasureCodec:
    """Implements `store.aggregates.Codec` for the erasures of one service. `pending` is there while it is not done."""

    schema = 1

    def __init__(self, service: str) -> None:
        self._service = service

    def encode(self, aggregate: Erasure) -> Document:
        """See `Codec`."""
        state: Document = {
            "scope": aggregate.scope.value,
            "subject": aggregate.subject,
            "state": aggregate.state.value,
            "counts": [{"kind": kind, "count": count} for kind, count in sorted(aggregate.counts.items())],
            "passed": aggregate.passed,
            "epoch": aggregate.epoch,
            **{name: getattr(aggregate, name) for name in _TIMES},
        }
        return state if aggregate.state is State.COMPLETED else state | {"pending": True}

    def decode(self, identity: Identity, state: Document, schema: int) -> Erasure:  # noqa: ARG002 - there is one form
        """See `Codec`."""
        return Erasure(
            **identity.fields(),
            scope=Scope(state["scope"]),
            subject=state["subject"],
            state=State(state["state"]),
            counts={each["kind"]: each["count"] for each in state["counts"]},
            passed=state["passed"],
            epoch=state["epoch"],
            **{name: state[name] for name in _TIMES},
        )

    def event(self, aggregate: Erasure, event: Event, seq: int) -> tuple[str, Message]:
        """See `EventCodec`."""
        if not isinstance(event, Completed):
            raise TypeError(event)
        message = ErasureCompleted(
            id=aggregate.id,
            project=aggregate.project,
            service=self._service,
            counts=[ErasureCount(kind=kind, count=count) for kind, count in sorted(aggregate.counts.items())],
            start_time=_time(aggregate.start_time or event.occurred_at),
            complete_time=_time(event.occurred_at),
            seq=seq,
        )
        return COMPLETED, message


def _time(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
