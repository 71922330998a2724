"""Answers in the shapes of the Responses API, with the same field `tidemill` as chats, and the inference's id in it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tidemill_core.errors import TidemillError
from tidemill_inference.generation.domain.content import Message, Role
from tidemill_inference.generation.domain.inference import Inference, State, Usage
from tidemill_inference.generation.domain.parameters import Parameters
from tidemill_inference.generation.domain.question import Question
from tidemill_inference.generation.domain.tools import OutputFormat, Tool, ToolChoice, ToolMode
from tidemill_inference.openai_api.completions import annotations_of, basis_of, token_of
from tidemill_inference.openai_api.responses.ids import item_id, response_id

Json = dict[str, Any]
_STATUS = {
    State.RESERVED: "in_progress",
    State.COMPLETED: "completed",
    State.CANCELLED: "cancelled",
    State.FAILED: "failed",
}
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How an answer was asked for, as far as its object says it again."""

    parameters: Parameters
    instructions: str | None

    @classmethod
    def by(cls, question: Question) -> "Asked":
        """Return what a question says."""
        return cls._of(Parameters.of(question), question.messages)

    @classmethod
    def recorded(cls, inference: Inference) -> "Asked":
        """Return what a record says."""
        return cls._of(inference.parameters or Parameters(), inference.messages)

    @classmethod
    def _of(cls, parameters: Parameters, messages: Sequence[Message]) -> "Asked":
        instructions = messages[0].text if parameters.instructed and messages else None
        return cls(parameters=parameters, instructions=instructions)


def response_object(inference: Inference, asked: Asked, *, feedback_token: str) -> Json:
    """Return an answer as it is now; `usage` is null where the record of an earlier request did not keep it."""
    parameters = asked.parameters
    reason = _INCOMPLETE.get(inference.finish_reason) if inference.state is State.COMPLETED else None
    return {
        "id": response_id(inference.id),
        "object": "response",
        "created_at": int(inference.create_time.timestamp()) if inference.create_time else 0,
        "completed_at": int(inference.finish_time.timestamp()) if inference.finish_time else None,
        "status": "incomplete" if reason else _STATUS[inference.state],
        "background": False,
        "error": _error(inference.failure) if inference.state is State.FAILED else None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": asked.instructions,
        "max_output_tokens": parameters.max_output_tokens,
        "max_tool_calls": None,
        "metadata": dict(inference.labels),
        "model": inference.deployment,
        "output": list(output_items(inference)),
        "parallel_tool_calls": not parameters.tool_choice.single_call,
        "previous_response_id": response_id(parameters.previous) if parameters.previous else None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": inference.parameters is not None,
        "temperature": parameters.temperature,
        "text": {"format": _format(parameters.output)},
        "tool_choice": _choice(parameters.tool_choice),
        "tools": [_tool(each) for each in parameters.tools],
        "top_logprobs": parameters.top_logprobs or 0,
        "top_p": parameters.top_p,
        "truncation": "auto" if parameters.cuttable else "disabled",
        "usage": _usage(inference.usage),
        "user": inference.end_user or None,
        "tidemill": {"inference": inference.id, **basis_of(inference, feedback_token)},
    }


def failed_object(response: Json, error: TidemillError) -> Json:
    """Return a response that ended with an error."""
    said = {"code": "server_error", "message": error.message}
    return {**response, "status": "failed", "error": said}


def output_items(inference: Inference) -> Iterator[Json]:
    """Yield what was thought, then what was said, then the calls."""
    output, status = inference.output, "incomplete" if inference.finish_reason in _INCOMPLETE else "completed"
    if thought := "".join(message.reasoning for message in output):
        yield reasoning_item(inference.id, thought, status=status)
    calls = [call for message in output for call in message.tool_calls]
    text = "".join(message.text for message in output)
    if text or (output and not calls):
        yield message_item(inference.id, [text_part(text, inference)], status=status)
    for number, call in enumerate(calls):
        yield call_item(inference.id, number, call_id=call.id, name=call.name, arguments=call.arguments_json)


def message_item(inference: str, content: Sequence[Json], *, status: str) -> Json:
    """Return what an answer says."""
    head = {"id": item_id("msg", inference, 0), "type": "message", "role": "assistant"}
    return {**head, "status": status, "content": list(content)}


def reasoning_item(inference: str, text: str | None, *, status: str) -> Json:
    """Return what was thought; None is nothing yet."""
    content = [] if text is None else [{"type": "reasoning_text", "text": text}]
    head: Json = {"id": item_id("rs", inference, 0), "type": "reasoning", "summary": []}
    return {**head, "content": content, "encrypted_content": None, "status": status}


def call_item(  # noqa: PLR0913 - keyword-only, and each of another kind
    inference: str, number: int, *, call_id: str, name: str, arguments: str, status: str = "completed"
) -> Json:
    """Return a call; `number` counts those of an answer."""
    head = {"id": item_id("fc", inference, number), "type": "function_call", "call_id": call_id, "name": name}
    return {**head, "arguments": arguments, "status": status}


def text_part(text: str, inference: Inference | None = None) -> Json:
    """Return what is said, with the citations and log probabilities of a whole answer."""
    part: Json = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    if inference is None:
        return part
    numbers = {passage.document: number for number, passage in reversed(list(enumerate(inference.passages)))}
    for each in annotations_of(inference.output, inference.passages):
        said = each[each["type"]]
        place = {"index": numbers[said["file_id"]]} if "file_id" in said else {}
        part["annotations"].append({"type": each["type"], **said, **place})
    part["logprobs"] = [
        {**token_of(each), "top_logprobs": [token_of(other) for other in each.top]} for each in inference.logprobs
    ]
    return part


def input_items(inference: Inference, asked: Asked) -> list[Json]:
    """Return what was sent with a request, oldest first, without instructions and what it went on from."""
    messages = inference.messages[1:] if asked.instructions is not None else inference.messages
    return [
        {"id": item_id(_PREFIXES[item["type"]], inference.id, f"i{number}"), "status": "completed", **item}
        for number, item in enumerate(item for message in messages for item in _items(message))
    ]


_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}


def _items(message: Message) -> Iterator[Json]:
    if message.reasoning:
        yield {
            "type": "reasoning",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": message.reasoning}],
        }
    for result in message.tool_results:
        yield {"type": "function_call_output", "call_id": result.id, "output": result.text}
    kind = "output_text" if message.role is Role.ASSISTANT else "input_text"
    more: Json = {"annotations": [], "logprobs": []} if message.role is Role.ASSISTANT else {}
    content = [
        {"type": kind, "text": part.spoken, **more}
        for part in message.parts
        if part.spoken is not None and part.tool_result is None
    ]
    if content:
        yield {"type": "message", "role": message.role.value, "content": content}
    for call in message.tool_calls:
        yield {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments_json}


def _error(failure: str) -> Json:
    return {"code": "server_error", "message": f"no answer came of it: {failure}"}


def _usage(usage: Usage | None) -> Json | None:
    if usage is None:
        return None
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_input_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _format(output: OutputFormat | None) -> Json:
    if output is None:
        return {"type": "text"}
    if not output.schema_json:
        return {"type": "json_object"}
    named = {"name": output.name, "description": output.description or None, "strict": output.strict}
    return {"type": "json_schema", **named, "schema": json.loads(output.schema_json)}


def _tool(tool: Tool) -> Json:
    parameters = json.loads(tool.parameters_json) if tool.parameters_json else None
    named = {"type": "function", "name": tool.name, "description": tool.description or None}
    return {**named, "parameters": parameters, "strict": tool.strict}


def _choice(choice: ToolChoice) -> str | Json:
    mode = choice.mode.name.lower()
    match choice.names:
        case ():
            return mode
        case (name,) if choice.mode is ToolMode.REQUIRED:
            return {"type": "function", "name": name}
        case names:
            return {"type": "allowed_tools", "mode": mode, "tools": [{"type": "function", "name": n} for n in names]}
