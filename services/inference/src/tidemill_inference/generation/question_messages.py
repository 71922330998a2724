"""Questions out of messages of the contract; what is not supported is refused by name."""

from google.protobuf.json_format import MessageToDict

from tidemill.content.v1 import content_pb2
from tidemill.inference.v1 import inference_pb2, inference_service_pb2
from tidemill_inference.deployments.messages import record_mode_of, sampling_of
from tidemill_inference.errors import QuestionRefused
from tidemill_inference.generation.domain.content import Message, Part, Passage, Role
from tidemill_inference.generation.domain.inference import (
    MAX_LABELS,
    MAX_MESSAGES,
    MAX_PARTS,
    MAX_PASSAGES,
    MAX_PRINCIPALS,
    MAX_VARIABLES_BYTES,
    Purpose,
    Question,
)

_ROLES: dict[content_pb2.Role.ValueType, Role] = {
    content_pb2.ROLE_SYSTEM: Role.SYSTEM,
    content_pb2.ROLE_USER: Role.USER,
    content_pb2.ROLE_ASSISTANT: Role.ASSISTANT,
}
_PURPOSES: dict[inference_pb2.Purpose.ValueType, Purpose] = {
    inference_pb2.PURPOSE_UNSPECIFIED: Purpose.LIVE,
    inference_pb2.PURPOSE_LIVE: Purpose.LIVE,
    inference_pb2.PURPOSE_SHADOW: Purpose.SHADOW,
    inference_pb2.PURPOSE_EVALUATION: Purpose.EVALUATION,
}
_SUPPORTED = "supported are system, user and assistant"


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
        end_user=request.end_user,
        principals=tuple(request.principals),
        labels=dict(request.labels),
        sampling=sampling_of(request.sampling),
        record=record_mode_of(request.record_mode),
        purpose=_PURPOSES[request.purpose],
        variant=request.variant,
        passages=tuple(_passage(each, number) for number, each in enumerate(request.passages, start=1)) or None,
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


def _passage(passage: content_pb2.Passage, number: int) -> Passage:
    """Return a passage with its place as its id, as search gives them: that is what markers and citations name."""
    return Passage(
        id=str(number),
        document=passage.document,
        version=passage.version,
        start=passage.start,
        end=passage.end,
        score=passage.score,
        source=passage.source,
        key=passage.key,
        title=passage.title,
        uri=passage.uri,
        text=passage.text,
        header_start=passage.header_start,
        header_end=passage.header_end,
        also_in=tuple(passage.also_in),
    )


def _message(message: content_pb2.Message, path: str) -> Message:
    if message.role not in _ROLES:
        name = content_pb2.Role.Name(message.role) if message.role in content_pb2.Role.values() else str(message.role)
        raise QuestionRefused(field=f"{path}.role", why=f"is {name}; {_SUPPORTED}")
    for number, part in enumerate(message.parts):
        if part.WhichOneof("content") != "text":
            raise QuestionRefused(field=f"{path}.parts[{number}]", why="has no text; only text parts are supported")
    parts = tuple(Part(text=part.text) for part in message.parts)
    return Message(role=_ROLES[message.role], parts=parts, name=message.name)
