"""Inferences as documents, and their events as messages without any text."""

from dataclasses import asdict

from google.protobuf.message import Message as ProtoMessage

from tidemill.inference.v1 import events_pb2, inference_pb2
from tidemill_inference.adapters.inference_messages import usage_message, variant_message
from tidemill_inference.domain.content import Citation, Message, Part, Passage, Role
from tidemill_inference.domain.deployment import RecordMode
from tidemill_inference.domain.inference import (
    Inference,
    InferenceHasFailed,
    InferenceWasCancelled,
    InferenceWasCompleted,
    Lease,
    Purpose,
    State,
    Usage,
    Variant,
)
from tidemill_kit.aggregates import Identity
from tidemill_kit.domain import Event
from tidemill_kit.grpc_requests import timestamp_of
from tidemill_kit.mongo import Document

_PLAIN = ("request_id", "request_digest", "deployment", "end_user", "finish_reason", "failure", "citation_valid")


class InferenceCodec:
    """Implements `tidemill_kit.aggregates.Codec`. A passage is stored as a span, never as text."""

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
            "variables": dict(aggregate.variables),
            "output": [_encoded(message) for message in aggregate.output],
            "passages": [{**asdict(passage), "text": ""} for passage in aggregate.passages],
            "warnings": list(aggregate.warnings),
        }

    def decode(self, identity: Identity, state: Document, schema: int) -> Inference:  # noqa: ARG002 - one so far
        """See `Codec.decode`."""
        return Inference(
            **asdict(identity),
            **{name: state[name] for name in (*_PLAIN, "finish_time")},
            purpose=Purpose[state["purpose"]],
            record=RecordMode[state["record"]],
            state=State[state["state"]],
            lease=Lease(**state["lease"]) if state["lease"] else None,
            variant=Variant(**state["variant"]) if state["variant"] else None,
            usage=Usage(**state["usage"]) if state["usage"] else None,
            messages=tuple(_decoded(message) for message in state["messages"]),
            variables=state["variables"],
            output=tuple(_decoded(message) for message in state["output"]),
            passages=tuple(Passage(**passage) for passage in state["passages"]),
            warnings=tuple(state["warnings"]),
        )

    def event(self, aggregate: Inference, event: Event, seq: int) -> tuple[str, ProtoMessage]:
        """See `Codec.event`."""
        match event:
            case InferenceWasCompleted():
                return "tidemill.inference.inference.completed.v1", _completed(aggregate, event, seq)
            case InferenceHasFailed():
                return "tidemill.inference.inference.failed.v1", events_pb2.InferenceFailed(
                    inference=aggregate.id,
                    seq=seq,
                    deployment=aggregate.deployment,
                    variant=variant_message(aggregate.variant),
                    purpose=inference_pb2.Purpose.Value(f"PURPOSE_{aggregate.purpose.name}"),
                    reason=event.reason,
                )
            case InferenceWasCancelled():
                cancelled = events_pb2.InferenceCancelled(
                    inference=aggregate.id, seq=seq, deployment=aggregate.deployment
                )
                return "tidemill.inference.inference.cancelled.v1", cancelled
        raise NotImplementedError(event)


def _completed(inference: Inference, event: InferenceWasCompleted, seq: int) -> events_pb2.InferenceCompleted:
    return events_pb2.InferenceCompleted(
        inference=inference.id,
        seq=seq,
        deployment=inference.deployment,
        variant=variant_message(inference.variant),
        purpose=inference_pb2.Purpose.Value(f"PURPOSE_{inference.purpose.name}"),
        end_user=inference.end_user,
        request_id=inference.request_id,
        documents=[
            events_pb2.DocumentUse(document=use.document, version=use.version, cited=use.cited)
            for use in event.documents
        ],
        usage=usage_message(inference.usage),
        finish_reason=inference.finish_reason,
        citations=event.citations,
        citation_valid=inference.citation_valid,
        create_time=timestamp_of(inference.create_time or event.occurred_at),
        recorded=inference.record is RecordMode.FULL,
    )


def _encoded(message: Message) -> Document:
    return {"role": message.role.value, "name": message.name, "parts": [asdict(part) for part in message.parts]}


def _decoded(stored: Document) -> Message:
    parts = tuple(
        Part(text=part["text"], citations=tuple(Citation(**each) for each in part["citations"]))
        for part in stored["parts"]
    )
    return Message(role=Role(stored["role"]), parts=parts, name=stored["name"])
