"""Sources, and who takes which events, in MongoDB."""

from typing import Any

from google.protobuf.message import Message

from tidemill_core.aggregate import Aggregate, Event
from tidemill_core.errors import NotFound
from tidemill_ingest.masking.kinds import Masking, MaskKind
from tidemill_ingest.sources.domain import EventBinding, Source
from tidemill_kit.store.aggregates import Identity


class SourceCodec:
    """Source <-> state."""

    schema = 1

    def encode(self, aggregate: Source) -> dict[str, Any]:
        """See `Codec.encode`."""
        return {
            "events": aggregate.events,
            "masking": list(aggregate.masking.names),
            "retention_days": aggregate.retention_days,
        }

    def decode(self, identity: Identity, state: dict[str, Any], schema: int) -> Source:  # noqa: ARG002 - one so far
        """See `Codec.decode`."""
        return Source(
            **identity.fields(),
            events=state["events"],
            masking=Masking(kinds=frozenset(MaskKind(name) for name in state["masking"])),
            retention_days=state["retention_days"],
        )

    def event(self, aggregate: Source, event: Event, seq: int) -> tuple[str, Message]:
        """See `Codec.event`."""
        return _no_event(aggregate, event, seq)


class EventBindingCodec:
    """EventBinding <-> state."""

    schema = 1

    def encode(self, aggregate: EventBinding) -> dict[str, Any]:
        """See `Codec.encode`."""
        return {"events": aggregate.events, "source_id": aggregate.source_id, "bound_at": aggregate.bound_at}

    def decode(self, identity: Identity, state: dict[str, Any], schema: int) -> EventBinding:  # noqa: ARG002 - one so far
        """See `Codec.decode`."""
        return EventBinding(**identity.fields(), **state)

    def event(self, aggregate: EventBinding, event: Event, seq: int) -> tuple[str, Message]:
        """See `Codec.event`."""
        return _no_event(aggregate, event, seq)


class BindingNotFound(NotFound):
    """No source ever took these events."""


def _no_event(aggregate: Aggregate, event: Event, seq: int) -> tuple[str, Message]:
    message = f"{type(aggregate).__name__} emits no events, and was given {type(event).__name__} {seq}"
    raise TypeError(message)
