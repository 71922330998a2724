"""Sources, and who takes which events, in MongoDB."""

from typing import Any

from google.protobuf.message import Message

from tidemill_core.aggregate import Aggregate, Event
from tidemill_core.errors import NotFound
from tidemill_core.quotas import Quota
from tidemill_ingest.documents.mongo import CE_SOURCE
from tidemill_ingest.errors import SourceNotFound
from tidemill_ingest.masking.kinds import Masking, MaskKind
from tidemill_ingest.sources.domain import Source
from tidemill_ingest.sources.event_binding import EventBinding
from tidemill_kit.store.aggregates import Identity, MongoAggregates
from tidemill_kit.store.mongo import Collection

_NO_TOPIC = ""


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


def mongo_sources(collection: Collection, *, quota: Quota | None = None) -> MongoAggregates[Source]:
    """Return the sources of a collection."""
    return MongoAggregates(
        collection, codec=SourceCodec(), topic=_NO_TOPIC, source=CE_SOURCE, missing=SourceNotFound, quota=quota
    )


def mongo_event_bindings(collection: Collection) -> MongoAggregates[EventBinding]:
    """Return the bindings of a collection."""
    return MongoAggregates(
        collection, codec=EventBindingCodec(), topic=_NO_TOPIC, source=CE_SOURCE, missing=BindingNotFound
    )


def _no_event(aggregate: Aggregate, event: Event, seq: int) -> tuple[str, Message]:
    message = f"{type(aggregate).__name__} emits no events, and was given {type(event).__name__} {seq}"
    raise TypeError(message)
