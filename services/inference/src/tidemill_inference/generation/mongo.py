"""Inferences as documents."""

import json
from dataclasses import asdict

from google.protobuf.message import Message as ProtoMessage

from tidemill_core.aggregate import Event
from tidemill_inference.deployments.domain.deployment import RecordMode
from tidemill_inference.generation.domain.content import Citation, Message, Part, Passage, Role
from tidemill_inference.generation.domain.inference import (
    Inference,
    Lease,
    Purpose,
    State,
    Usage,
    Variant,
)
from tidemill_inference.generation.event_messages import payload_of
from tidemill_kit.store.aggregates import Identity
from tidemill_kit.store.mongo import Document

_PLAIN = ("request_id", "request_digest", "deployment", "end_user", "finish_reason", "failure", "citation_valid")


class InferenceCodec:
    """Implements `tidemill_kit.store.aggregates.Codec`. A passage is stored as a span, never as text."""

    schema = 1

    def encode(self, aggregate: Inference) -> Document:
        """See `Codec.encode`."""
        return {name: getattr(aggregate, name) for name in (*_PLAIN, "finish_time")} | {
            "purpose": aggregate.purpose.name,
            "record": aggregate.record.name,
            "state": aggregate.state.name,
            "lease": asdict(aggregate.lease) if aggregate.lease else None,
            "variant": asdict(aggregate.variant) if aggregate.variant else None,
            "usage": asdict(aggregate.usage) if aggregate.usage else None,
            "messages": [_encoded(message) for message in aggregate.messages],
            "variables": json.dumps(dict(aggregate.variables)),  # names that MongoDB may not take
            "principals": list(aggregate.principals),
            "output": [_encoded(message) for message in aggregate.output],
            "passages": [{**asdict(passage), "text": ""} for passage in aggregate.passages],
            "warnings": list(aggregate.warnings),
        }

    def decode(self, identity: Identity, state: Document, schema: int) -> Inference:  # noqa: ARG002 - one so far
        """See `Codec.decode`."""
        return Inference(
            **identity.fields(),
            **{name: state[name] for name in (*_PLAIN, "finish_time")},
            purpose=Purpose[state["purpose"]],
            record=RecordMode[state["record"]],
            state=State[state["state"]],
            lease=Lease(**state["lease"]) if state["lease"] else None,
            variant=Variant(**state["variant"]) if state["variant"] else None,
            usage=Usage(**state["usage"]) if state["usage"] else None,
            messages=tuple(_decoded(message) for message in state["messages"]),
            variables=json.loads(state["variables"]),
            principals=tuple(state.get("principals", ())),
            output=tuple(_decoded(message) for message in state["output"]),
            passages=tuple(
                Passage(**{**passage, "also_in": tuple(passage.get("also_in", ()))}) for passage in state["passages"]
            ),
            warnings=tuple(state["warnings"]),
        )

    def event(self, aggregate: Inference, event: Event, seq: int) -> tuple[str, ProtoMessage]:
        """See `Codec.event`."""
        return payload_of(aggregate, event, seq)


def _encoded(message: Message) -> Document:
    return {"role": message.role.value, "name": message.name, "parts": [asdict(part) for part in message.parts]}


def _decoded(stored: Document) -> Message:
    parts = tuple(
        Part(text=part["text"], citations=tuple(Citation(**each) for each in part["citations"]))
        for part in stored["parts"]
    )
    return Message(role=Role(stored["role"]), parts=parts, name=stored["name"])
