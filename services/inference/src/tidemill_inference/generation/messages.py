"""Inferences as messages of the contract."""

from google.protobuf.duration_pb2 import Duration

from tidemill.content.v1 import content_pb2
from tidemill.inference.v1 import inference_pb2
from tidemill_inference.generation.domain.content import Message, Passage, Role
from tidemill_inference.generation.domain.inference import Inference, Usage, Variant
from tidemill_kit.grpc.requests import timestamp_of

_ROLES = {
    Role.SYSTEM: content_pb2.ROLE_SYSTEM,
    Role.USER: content_pb2.ROLE_USER,
    Role.ASSISTANT: content_pb2.ROLE_ASSISTANT,
}


def inference_message(inference: Inference) -> inference_pb2.Inference:
    """Return the whole resource."""
    return inference_pb2.Inference(
        id=inference.id,
        deployment=inference.deployment,
        create_time=timestamp_of(inference.create_time),
        variant=_variant(inference.variant),
        output=[content_message(message) for message in inference.output],
        state=inference_pb2.InferenceState.Value(f"INFERENCE_STATE_{inference.state.name}"),
        finish_reason=inference.finish_reason,
        passages=[_passage(passage) for passage in inference.passages],
        usage=_usage(inference.usage),
        warnings=inference.warnings,
        project=inference.project,
        seq=inference.seq,
        finish_time=timestamp_of(inference.finish_time),
        end_user=inference.end_user,
        labels=inference.labels,
        purpose=inference_pb2.Purpose.Value(f"PURPOSE_{inference.purpose.name}"),
        messages=[content_message(message) for message in inference.messages],
        failure=inference.failure,
        citation_valid=inference.citation_valid,
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


def content_message(message: Message) -> content_pb2.Message:
    """Return a message of a conversation."""
    parts = [
        content_pb2.Part(
            text=part.text,
            citations=[
                content_pb2.Citation(start=each.start, end=each.end, passage=each.passage) for each in part.citations
            ],
        )
        for part in message.parts
    ]
    return content_pb2.Message(role=_ROLES[message.role], parts=parts, name=message.name)


def _passage(passage: Passage) -> content_pb2.Passage:
    return content_pb2.Passage(
        id=passage.id,
        document=passage.document,
        version=passage.version,
        start=passage.start,
        end=passage.end,
        text=passage.text,
        score=passage.score,
        source=passage.source,
        key=passage.key,
        title=passage.title,
        uri=passage.uri,
        header_start=passage.header_start,
        header_end=passage.header_end,
        also_in=passage.also_in,
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMicroseconds(round(seconds * 1e6))
    return duration
