"""Stored form of suites."""

from dataclasses import asdict

from google.protobuf.message import Message

from tidemill_core.aggregate import Event, ObjectRef
from tidemill_evaluator.suites.domain.suite import Suite
from tidemill_kit.store.aggregates import Identity
from tidemill_kit.store.mongo import Document


class SuiteCodec:
    """Suite <-> state."""

    schema = 1

    def encode(self, aggregate: Suite) -> Document:
        """See `Codec.encode`."""
        return {
            "number": aggregate.number,
            "digest": aggregate.digest,
            "size": aggregate.size,
            "content": asdict(aggregate.content) if aggregate.content else None,
        }

    def decode(self, identity: Identity, state: Document, schema: int) -> Suite:  # noqa: ARG002 - one so far
        """See `Codec.decode`."""
        content = ObjectRef(**state["content"]) if state["content"] else None
        return Suite(**identity.fields(), **(state | {"content": content}))

    def event(self, aggregate: Suite, event: Event, seq: int) -> tuple[str, Message]:
        """See `Codec.event`."""
        raise TypeError(aggregate, event, seq)
