"""The events of an aggregate that wait to be published, as they stand in its document."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, Protocol, TypeVar

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from tidemill_core.aggregate import Aggregate, Event
from tidemill_core.application import derived_id
from tidemill_core.errors import DependencyUnavailable, InvalidInput
from tidemill_core.tracing import traceparent
from tidemill_kit.store.mongo import Document, document_id

A_contra = TypeVar("A_contra", bound=Aggregate, contravariant=True)

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

WITH_EVENTS: Document = {"outbox_at": {"$gt": _BEGINNING}}
"""Finds the documents whose events wait, by an index that holds no others."""


class TooLarge(InvalidInput):
    """An aggregate or an event outgrew what one document or one record may carry."""

    reason = "TOO_LARGE"

    def __init__(self, what: str, *, size: int, limit: int) -> None:
        super().__init__(f"{what} has {size} bytes, and {limit} is the limit: put less in it", size=size, limit=limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxLimits:
    """What a document may grow to. All at their limit together stay below MongoDB's 16 MB."""

    length: int = 100
    """Events of one aggregate that wait to be published."""
    event_bytes: int = 64 * 1024
    state_bytes: int = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvents:
    """That a document got new events; and all that wait in it, where no others waited before."""

    document_id: str
    project: str
    entries: Sequence[Document] = ()


class EventCodec(Protocol[A_contra]):
    """Event -> message."""

    def event(self, aggregate: A_contra, event: Event, seq: int) -> tuple[str, Message]:
        """Return the ce_type and the payload, whose seq field is set."""
        ...


class Outbox(Generic[A_contra]):
    """Makes the entries of the aggregates in one collection."""

    def __init__(
        self, codec: EventCodec[A_contra], *, topic: str, source: str, collection: str, limits: OutboxLimits
    ) -> None:
        self._codec = codec
        self._topic = topic
        self._source = source
        self._collection = collection
        self._limits = limits

    def entries(self, aggregate: A_contra, *, waiting: int) -> Sequence[Document]:
        """Return the outbox entries of the pending events, numbered on."""
        if waiting + len(aggregate.pending) > self._limits.length:
            message = (
                f"{waiting} events of {aggregate.id} wait to be published: wait until Kafka has accepted some of them"
            )
            raise DependencyUnavailable(message, dependency="kafka", id=aggregate.id)
        return [
            self._entry(aggregate, event, seq) for seq, event in enumerate(aggregate.pending, start=aggregate.seq + 1)
        ]

    def _entry(self, aggregate: A_contra, event: Event, seq: int) -> Document:
        ce_type, payload = self._codec.event(aggregate, event, seq)
        data = MessageToJson(
            payload, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=None
        )
        if (size := len(data.encode())) > self._limits.event_bytes:
            raise TooLarge(ce_type, size=size, limit=self._limits.event_bytes)
        # The collection's name, because two kinds of aggregates of one service may have the same id.
        ce_id = derived_id(self._source, self._collection, aggregate.project, aggregate.id, str(seq))
        return {
            "seq": seq,
            "ce_id": ce_id,
            "type": ce_type,
            "source": self._source,
            "subject": aggregate.id,
            "time": event.occurred_at,
            "topic": self._topic,
            "key": event.record_key or document_id(aggregate.project, aggregate.id),
            "data": data,
            "traceparent": traceparent(),
        }
