"""Questions, answers and their events as messages of the contract. Events are facts and ids, never a text."""

from google.protobuf.message import Message as ProtoMessage

from tidemill.content.v1 import content_pb2
from tidemill.inference.v1 import deployment_pb2, events_pb2, inference_pb2, inference_service_pb2
from tidemill_core.aggregate import Event
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.generation.domain.content import Message, Part, Passage, Role, ToolCall, ToolResult
from tidemill_inference.generation.domain.errors import QuestionRefused
from tidemill_inference.generation.domain.inference import (
    Inference,
    InferenceHasFailed,
    InferenceWasCancelled,
    InferenceWasCompleted,
)
from tidemill_inference.generation.domain.limits import DEFAULT_LIMITS, PARTS, QuestionLimits
from tidemill_inference.generation.domain.question import Purpose, Question
from tidemill_inference.generation.domain.tools import OutputFormat, Tool, ToolChoice
from tidemill_inference.generation.ports import Delta, ToolCallDelta
from tidemill_inference.prompts.domain.prompt import PromptContent
from tidemill_kit.mapping import from_message, from_struct, to_message

_ROLES = {content_pb2.Role.Value(f"ROLE_{each.name}"): each for each in Role}
_RECORD_MODES = {deployment_pb2.RecordMode.Value(f"RECORD_MODE_{each.name}"): each for each in RecordMode}
_PURPOSES = {inference_pb2.PURPOSE_UNSPECIFIED: Purpose.LIVE} | {
    inference_pb2.Purpose.Value(f"PURPOSE_{each.name}"): each for each in Purpose
}
_BYTES = "has {} bytes; send at most {}"
_SUPPORTED = "supported are system, user, assistant and tool"
_SUPPORTED_PARTS = "supported are text, and where they belong tool_call, tool_result, reasoning and json"


def inference_message(inference: Inference) -> inference_pb2.Inference:
    """Return the whole resource."""
    return to_message(inference_pb2.Inference, inference)


def delta_message(delta: Delta | ToolCallDelta) -> inference_service_pb2.PartDelta:
    """Return more of an answer."""
    if isinstance(delta, ToolCallDelta):
        more = inference_service_pb2.ToolCallDelta(id=delta.id, name=delta.name, arguments_json=delta.arguments)
        return inference_service_pb2.PartDelta(part=delta.index, candidate=delta.candidate, tool_call=more)
    return to_message(
        inference_service_pb2.PartDelta,
        delta,
        message=None,
        part=None,
        tool_call=None,
        reasoning=delta.reasoning or None,
    )


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
                conversation=inference.conversation or None,
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


def question_of(request: inference_service_pb2.GenerateRequest, limits: QuestionLimits = DEFAULT_LIMITS) -> Question:
    """Return the question.

    Raises:
        QuestionRefused: a message has a role or a part that is not supported.
        InvalidInput: a value is not of the contract, such as NaN among the variables.

    """
    if not request.deployment:
        raise QuestionRefused(field="deployment", why="is required")
    _check_sizes(request, limits)
    if request.purpose not in _PURPOSES:
        raise QuestionRefused(field="purpose", why=f"is {request.purpose}; supported are LIVE, SHADOW and EVALUATION")
    return Question(
        deployment=request.deployment,
        messages=tuple(_message(message, f"messages[{number}]") for number, message in enumerate(request.messages)),
        store=request.store if request.HasField("store") else None,
        previous=request.previous_inference,
        cuttable=request.truncate_history,
        variables=from_struct(request.variables, field="variables"),
        conversation=request.conversation,
        end_user=request.end_user,
        principals=tuple(request.principals),
        labels=dict(request.labels),
        sampling=from_message(Sampling, request.sampling, prefix="sampling"),
        tools=tuple(from_message(Tool, each, prefix=f"tools[{n}]") for n, each in enumerate(request.tools)),
        tool_choice=from_message(ToolChoice, request.tool_choice, prefix="tool_choice"),
        output=from_message(OutputFormat, request.output_format, prefix="output_format")
        if request.HasField("output_format")
        else None,
        candidates=request.candidate_count or 1,
        best_of=request.best_of,
        no_cache=request.no_cache,
        record=_RECORD_MODES.get(request.record_mode),
        purpose=_PURPOSES[request.purpose],
        variant=request.variant,
        unsaved=from_message(PromptContent, request.unsaved_prompt, prefix="unsaved_prompt")
        if request.HasField("unsaved_prompt")
        else None,
        index=request.index,
        prompt=request.prompt,
        passages=tuple(  # its place is its id, as search gives them: markers and citations name it
            from_message(Passage, each, prefix="passages", ignore={"rerank_score"}, id=str(number))
            for number, each in enumerate(request.passages, start=1)
        )
        or None,
    )


def _check_sizes(request: inference_service_pb2.GenerateRequest, limits: QuestionLimits) -> None:
    """Refuse more than a question may have: each is converted to an object on the event loop."""
    for name, number in (
        ("messages", len(request.messages)),
        ("principals", len(request.principals)),
        ("passages", len(request.passages)),
        ("labels", len(request.labels)),
        ("tools", len(request.tools)),
    ):
        limits.check(name, number)
    limits.check("parts", sum(len(each.parts) for each in request.messages), where="messages", what=PARTS)
    limits.check("variables_bytes", request.variables.ByteSize(), where="variables", what=_BYTES)
    if (biases := len(request.sampling.logit_bias)) > limits.sampling.biased_tokens:
        why = f"has {biases} tokens; use at most {limits.sampling.biased_tokens}"
        raise QuestionRefused(field="sampling.logit_bias", why=why)


def _message(message: content_pb2.Message, path: str) -> Message:
    if message.role not in _ROLES:
        name = content_pb2.Role.Name(message.role) if message.role in content_pb2.Role.values() else str(message.role)
        raise QuestionRefused(field=f"{path}.role", why=f"is {name}; {_SUPPORTED}")
    role = _ROLES[message.role]
    parts = tuple(_part(part, role, f"{path}.parts[{number}]") for number, part in enumerate(message.parts))
    return Message(role=role, parts=parts, name=message.name)


def _part(part: content_pb2.Part, role: Role, path: str) -> Part:
    kind = part.WhichOneof("content")
    match kind:
        case "tool_result" if role is Role.TOOL:
            return Part(tool_result=_tool_result(part.tool_result, path))
        case "text" if role is not Role.TOOL:
            return Part(text=part.text)
        case "tool_call" if role is Role.ASSISTANT:
            return Part(tool_call=from_message(ToolCall, part.tool_call))
        case "reasoning" if role is Role.ASSISTANT:
            return Part(reasoning=part.reasoning)
        case "json" if role is Role.ASSISTANT:
            return Part(json=part.json)
    what = f"is a {kind} in a message of role {role.value}" if kind else "is empty, or of a kind that is not supported"
    raise QuestionRefused(field=path, why=f"{what}; {_SUPPORTED_PARTS}")


def _tool_result(result: content_pb2.ToolResult, path: str) -> ToolResult:
    for number, part in enumerate(result.parts):
        if part.WhichOneof("content") not in {"text", "json"}:
            raise QuestionRefused(field=f"{path}.tool_result.parts[{number}]", why="is neither text nor json")
    text = "\n".join(part.text or part.json for part in result.parts)
    return ToolResult(id=result.id, text=text, failed=result.failed)
