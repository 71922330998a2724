"""Questions, answers and their events as messages of the contract. Events are facts and ids, never a text."""

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message as ProtoMessage

from tidemill.content.v1 import content_pb2
from tidemill.inference.v1 import deployment_pb2, events_pb2, inference_pb2, inference_service_pb2
from tidemill_core.aggregate import Event
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.errors import QuestionRefused
from tidemill_inference.generation.domain.content import Message, Part, Passage, Role
from tidemill_inference.generation.domain.inference import (
    MAX_LABELS,
    MAX_MESSAGES,
    MAX_PARTS,
    MAX_PASSAGES,
    MAX_PRINCIPALS,
    MAX_VARIABLES_BYTES,
    Inference,
    InferenceHasFailed,
    InferenceWasCancelled,
    InferenceWasCompleted,
    Purpose,
    Question,
)
from tidemill_kit.mapping import from_message, to_message

_ROLES = {content_pb2.Role.Value(f"ROLE_{each.name}"): each for each in Role}
_RECORD_MODES = {deployment_pb2.RecordMode.Value(f"RECORD_MODE_{each.name}"): each for each in RecordMode}
_PURPOSES = {inference_pb2.PURPOSE_UNSPECIFIED: Purpose.LIVE} | {
    inference_pb2.Purpose.Value(f"PURPOSE_{each.name}"): each for each in Purpose
}
_SUPPORTED = "supported are system, user and assistant"


def inference_message(inference: Inference) -> inference_pb2.Inference:
    """Return the whole resource."""
    return to_message(inference_pb2.Inference, inference)


def payload_of(inference: Inference, event: Event, seq: int) -> tuple[str, ProtoMessage]:
    """Return the ce_type and the payload of an event."""
    match event:
        case InferenceWasCompleted():
            return "tidemill.inference.inference.completed.v1", to_message(
                events_pb2.InferenceCompleted,
                event,
                inference,
                inference=inference.id,
                seq=seq,
                create_time=inference.create_time or event.occurred_at,
                recorded=inference.record is RecordMode.FULL,
            )
        case InferenceHasFailed():
            return "tidemill.inference.inference.failed.v1", to_message(
                events_pb2.InferenceFailed, event, inference, inference=inference.id, seq=seq
            )
        case InferenceWasCancelled():
            return "tidemill.inference.inference.cancelled.v1", to_message(
                events_pb2.InferenceCancelled, event, inference, inference=inference.id, seq=seq
            )
    raise NotImplementedError(event)


def question_of(request: inference_service_pb2.GenerateRequest) -> Question:
    """Return the question.

    Raises:
        QuestionRefused: a message has a role or a part that is not supported.

    """
    if not request.deployment:
        raise QuestionRefused(field="deployment", why="is required")
    _check_sizes(request)
    if request.purpose not in _PURPOSES:
        raise QuestionRefused(field="purpose", why=f"is {request.purpose}; supported are LIVE, SHADOW and EVALUATION")
    return Question(
        deployment=request.deployment,
        messages=tuple(_message(message, f"messages[{number}]") for number, message in enumerate(request.messages)),
        variables=MessageToDict(request.variables),
        conversation=request.conversation,
        end_user=request.end_user,
        principals=tuple(request.principals),
        labels=dict(request.labels),
        sampling=from_message(Sampling, request.sampling, prefix="sampling"),
        record=_RECORD_MODES.get(request.record_mode),
        purpose=_PURPOSES[request.purpose],
        variant=request.variant,
        passages=tuple(  # its place is its id, as search gives them: markers and citations name it
            from_message(Passage, each, prefix="passages", id=str(number))
            for number, each in enumerate(request.passages, start=1)
        )
        or None,
    )


def _check_sizes(request: inference_service_pb2.GenerateRequest) -> None:
    """Refuse more than a question may have: each is converted to an object on the event loop."""
    for field, number, maximum in (
        ("messages", len(request.messages), MAX_MESSAGES),
        ("messages", sum(len(each.parts) for each in request.messages[:MAX_MESSAGES]), MAX_PARTS),
        ("principals", len(request.principals), MAX_PRINCIPALS),
        ("passages", len(request.passages), MAX_PASSAGES),
        ("labels", len(request.labels), MAX_LABELS),
        ("variables", request.variables.ByteSize(), MAX_VARIABLES_BYTES),
    ):
        if number > maximum:
            raise QuestionRefused(field=field, why=f"has {number}; send at most {maximum}")


def _message(message: content_pb2.Message, path: str) -> Message:
    if message.role not in _ROLES:
        name = content_pb2.Role.Name(message.role) if message.role in content_pb2.Role.values() else str(message.role)
        raise QuestionRefused(field=f"{path}.role", why=f"is {name}; {_SUPPORTED}")
    for number, part in enumerate(message.parts):
        if part.WhichOneof("content") != "text":
            raise QuestionRefused(field=f"{path}.parts[{number}]", why="has no text; only text parts are supported")
    parts = tuple(Part(text=part.text) for part in message.parts)
    return Message(role=_ROLES[message.role], parts=parts, name=message.name)
