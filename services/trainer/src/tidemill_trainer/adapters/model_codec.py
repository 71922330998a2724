"""Stored form and events of a model."""

from google.protobuf.message import Message

from tidemill.trainer.v1 import events_pb2 as events
from tidemill_core.aggregate import Event
from tidemill_kit.store.aggregates import Identity
from tidemill_kit.store.mongo import Document
from tidemill_trainer.domain.model import Model, ModelWasDeleted


class ModelCodec:
    """Model <-> document, and its events -> messages."""

    schema = 1

    def encode(self, aggregate: Model) -> Document:
        """Return the state."""
        return {
            "version_count": aggregate.version_count,
            "first_number": aggregate.first_number,
            "numbers": [{"key": key, "number": number} for key, number in sorted(aggregate.numbers.items())],
        }

    def decode(self, identity: Identity, state: Document, schema: int) -> Model:  # noqa: ARG002 - there is one schema
        """Return the model."""
        return Model(
            **identity.fields(),
            version_count=state["version_count"],
            first_number=state["first_number"],
            numbers={entry["key"]: entry["number"] for entry in state["numbers"]},
        )

    def event(self, aggregate: Model, event: Event, seq: int) -> tuple[str, Message]:
        """Return the ce_type and the payload."""
        if not isinstance(event, ModelWasDeleted):
            raise TypeError(event)
        return "tidemill.trainer.model.deleted.v1", events.ModelDeleted(model=aggregate.id, seq=seq)
