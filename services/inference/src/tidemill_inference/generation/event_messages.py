"""Events of inferences as messages: facts and ids, never a text."""

from datetime import datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from tidemill.inference.v1 import events_pb2, inference_pb2
from tidemill_core.aggregate import Event
from tidemill_inference.deployments.domain.deployment import RecordMode
from tidemill_inference.generation.domain.inference import (
    Inference,
    InferenceHasFailed,
    InferenceWasCancelled,
    InferenceWasCompleted,
    Usage,
    Variant,
)


def payload_of(inference: Inference, event: Event, seq: int) -> tuple[str, Message]:
    """Return the ce_type and the payload of an event."""
    match event:
        case InferenceWasCompleted():
            return "tidemill.inference.inference.completed.v1", _completed(inference, event, seq)
        case InferenceHasFailed():
            return "tidemill.inference.inference.failed.v1", events_pb2.InferenceFailed(
                inference=inference.id,
                seq=seq,
                deployment=inference.deployment,
                variant=_variant(inference.variant),
                purpose=inference_pb2.Purpose.Value(f"PURPOSE_{inference.purpose.name}"),
                reason=event.reason,
            )
        case InferenceWasCancelled():
            cancelled = events_pb2.InferenceCancelled(inference=inference.id, seq=seq, deployment=inference.deployment)
            return "tidemill.inference.inference.cancelled.v1", cancelled
    raise NotImplementedError(event)


def _completed(inference: Inference, event: InferenceWasCompleted, seq: int) -> events_pb2.InferenceCompleted:
    return events_pb2.InferenceCompleted(
        inference=inference.id,
        seq=seq,
        deployment=inference.deployment,
        variant=_variant(inference.variant),
        purpose=inference_pb2.Purpose.Value(f"PURPOSE_{inference.purpose.name}"),
        end_user=inference.end_user,
        request_id=inference.request_id,
        documents=[
            events_pb2.DocumentUse(document=use.document, version=use.version, cited=use.cited)
            for use in event.documents
        ],
        usage=_usage(inference.usage),
        finish_reason=inference.finish_reason,
        citations=event.citations,
        citation_valid=inference.citation_valid,
        create_time=_timestamp(inference.create_time or event.occurred_at),
        recorded=inference.record is RecordMode.FULL,
    )


def _variant(variant: Variant | None) -> inference_pb2.Variant | None:
    if variant is None:
        return None
    return inference_pb2.Variant(
        name=variant.name,
        configuration=variant.configuration,
        model=variant.model,
        prompt=variant.prompt,
        index=variant.index,
        engine=variant.engine,
        rollout=variant.rollout,
    )


def _usage(usage: Usage | None) -> inference_pb2.Usage | None:
    if usage is None:
        return None
    return inference_pb2.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        first_token=_duration(usage.first_token_s),
        total=_duration(usage.total_s),
        search=_duration(usage.search_s),
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMicroseconds(round(seconds * 1e6))
    return duration


def _timestamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
