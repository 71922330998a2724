"""Requests of the Responses API, as those of chats: the one mapping of parameters is `schemas`.

Items of input are in `items`. `instructions` are a system message of this answer alone. `store` (the default) keeps the
answer to be shown and gone on from where the deployment records in full; without it no text is recorded.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, FailFast, Field, StringConstraints, ValidationError

from tidemill_core.errors import InvalidInput, Violation
from tidemill_inference.generation.domain.content import Message, Role
from tidemill_inference.generation.domain.limits import QUESTION_BOUNDS
from tidemill_inference.generation.domain.question import Question
from tidemill_inference.openai_api.responses.ids import inference_id
from tidemill_inference.openai_api.responses.items import Input
from tidemill_inference.openai_api.schemas import AskedAnswer, asked_of
from tidemill_kit.http.bodies import SHOWN_VIOLATIONS, Strict, object_of, problems
from tidemill_kit.http.errors import shown

_LOGPROBS = "message.output_text.logprobs"
_AS_CHATS = (
    *("model", "stream", "stream_options", "temperature", "top_p", "top_logprobs", "parallel_tool_calls"),
    *("user", "safety_identifier", "metadata", "tidemill"),
)
"""Parameters that are called alike in both APIs."""
_ONLY_OF_CHATS = {*AskedAnswer.model_fields, "messages", "functions", "function_call"}
_ELSEWHERE = {
    "conversation": "is not supported: send previous_response_id, or tidemill.conversation with an id of your own",
    "prompt": "is not supported: a deployment has its prompt; send tidemill.variables",
}
_OF_CHATS = "is of POST /v1/chat/completions: leave it out"
_MESSAGE = re.compile(r"^messages\[(\d+)\](.*)$")
_NAMES = (
    (re.compile(r"^previous_inference$"), "previous_response_id"),
    (re.compile(r"^messages$"), "input"),
    (re.compile(r"^(max_tokens|max_completion_tokens)$"), "max_output_tokens"),
    (re.compile(r"^response_format(\.json_schema)?"), "text.format"),
    (re.compile(r"^(tools\[\d+\])\.function"), r"\1"),
)
_LENGTHS = re.compile(r"\bmax_(completion_)?tokens\b")


def _function(given: object) -> object:
    if isinstance(given, dict) and isinstance(kind := given.get("type"), str) and kind != "function":
        message = f"is a tool of type {shown(kind)}, and no tool runs here: send functions, and run them yourself"
        raise ValueError(message)
    return given


class FunctionTool(Strict):
    """A function that the caller runs."""

    type: Literal["function"]
    name: str
    description: str = ""
    parameters: dict[str, Any] | None = None
    strict: bool = False

    def of_chats(self) -> Mapping[str, Any]:
        """Return it as chats have it."""
        return {"type": "function", "function": self.model_dump(exclude={"type"}, exclude_none=True)}


class TextFormat(Strict):
    """The form of an answer."""

    model_config = ConfigDict(validate_by_alias=True)

    type: Literal["text", "json_object", "json_schema"]
    name: str = ""
    json_schema: dict[str, Any] | None = Field(None, alias="schema")
    description: str = ""
    strict: bool = False

    def of_chats(self) -> Mapping[str, Any]:
        """Return it as chats have it."""
        if self.type != "json_schema":
            return {"type": self.type}
        named = {"name": self.name, "description": self.description, "strict": self.strict}
        return {"type": self.type, "json_schema": {**named, "schema": self.json_schema}}


class TextOptions(Strict):
    """How the text is to be; `verbosity` is a hint."""

    format: TextFormat | None = None
    verbosity: str = ""


class OwnParameters(Strict):
    """What chats do not have, or have in another form."""

    instructions: str = ""
    previous_response_id: Annotated[str, StringConstraints(max_length=128)] = ""
    include: Annotated[
        list[Literal["message.output_text.logprobs", "reasoning.encrypted_content"]], FailFast(), Field(max_length=16)
    ] = Field(default_factory=list)
    """What a model thinks is always included, and never encrypted."""
    truncation: Literal["auto", "disabled"] = "disabled"
    text: TextOptions = TextOptions()
    max_output_tokens: int | None = None
    store: bool = True
    background: Literal[False] = False
    tools: Annotated[
        list[Annotated[FunctionTool, BeforeValidator(_function)]], FailFast(), Field(max_length=QUESTION_BOUNDS.tools)
    ] = Field(default_factory=list)
    tool_choice: str | dict[str, Any] = "auto"

    def of_chats(self) -> Mapping[str, Any]:
        """Return them as chats have them."""
        found = {
            "max_completion_tokens": self.max_output_tokens,
            "tools": [each.of_chats() for each in self.tools],
            "tool_choice": _choice(self.tool_choice) if "tool_choice" in self.model_fields_set else None,
            "response_format": self.text.format.of_chats() if self.text.format else None,
            "logprobs": True if _LOGPROBS in self.include else None,
        }
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseRequest:
    """What `POST /v1/responses` takes; `places` are what the caller calls the messages."""

    asked: AskedAnswer
    own: OwnParameters
    messages: tuple[Message, ...]
    places: Sequence[str]

    @property
    def stream(self) -> bool:
        """Whether the answer is streamed."""
        return self.asked.stream

    @property
    def end_user_field(self) -> str:
        """What the caller called the end user."""
        return self.asked.end_user_field

    def question(self) -> Question:
        """Return what is asked."""
        own = self.own
        return replace(
            self.asked.asking(self.messages),
            store=own.store,
            previous=inference_id(own.previous_response_id) if own.previous_response_id else "",
            instructed=bool(own.instructions),
            cuttable=own.truncation == "auto",
        )

    def questions(self) -> Sequence[Question]:
        """Return it as the only one."""
        return [self.question()]

    def blamed(self, error: InvalidInput) -> InvalidInput:
        """Return the error with its fields called as this caller called them."""
        return as_sent(self.asked.blamed(error), self.places)


def response_request_of(body: bytes) -> ResponseRequest:
    """Return what a body asks for.

    Raises:
        InvalidInput: names every parameter that is missing, wrong or not supported.

    """
    given = {name: value for name, value in object_of(body).items() if value is not None}
    said, violations, own = Input.of(given.pop("input", None)), list[Violation](), OwnParameters()
    violations += said.violations
    try:
        own = OwnParameters.model_validate(
            {name: given.pop(name) for name in OwnParameters.model_fields if name in given}
        )
    except ValidationError as error:
        violations += problems(error)
    chat = {**{name: given.pop(name) for name in _AS_CHATS if name in given}, **own.of_chats()}
    if "top_logprobs" in chat:
        chat["logprobs"] = True
    unknown = {name: value for name, value in given.items() if name not in _ELSEWHERE and name not in _ONLY_OF_CHATS}
    violations += [Violation(name, _ELSEWHERE.get(name, _OF_CHATS)) for name in given if name not in unknown]
    asked: AskedAnswer | None = None
    reason = "UNSUPPORTED_PARAMETER" if len(given) > len(unknown) else InvalidInput.reason
    try:
        supported = ("input", *OwnParameters.model_fields, *_AS_CHATS)
        asked = asked_of(AskedAnswer, chat | unknown, supported=supported)
    except InvalidInput as error:
        violations += as_sent(error, ()).violations
        reason = error.reason if reason == InvalidInput.reason else reason
    if asked is not None and not own.store and asked.tidemill.record_mode == "full":
        violations.append(Violation("store", "is false, which records no text: leave tidemill.record_mode out"))
    if asked is None or violations:
        refusal = InvalidInput.of(*violations[:SHOWN_VIOLATIONS])
        refusal.reason = reason
        raise refusal
    return _request(asked, own, said)


def _request(asked: AskedAnswer, own: OwnParameters, said: Input) -> ResponseRequest:
    instructions = (Message.of(Role.SYSTEM, own.instructions),) if own.instructions else ()
    places = (*(["instructions"] if instructions else []), *said.places)
    return ResponseRequest(asked=asked, own=own, messages=(*instructions, *said.messages), places=places)


def as_sent(error: InvalidInput, places: Sequence[str]) -> InvalidInput:
    """Return an error of a chat with its fields called as this caller called them."""
    if not error.violations:
        return error
    return error.with_violations(
        Violation(_sent(each.field, places), _LENGTHS.sub("max_output_tokens", each.description))
        for each in error.violations
    )


def _sent(field: str, places: Sequence[str]) -> str:
    if (found := _MESSAGE.match(field)) and int(found.group(1)) < len(places):
        return places[int(found.group(1))] + found.group(2)
    for ours, theirs in _NAMES:
        field = ours.sub(theirs, field)
    return field


def _choice(given: str | dict[str, Any]) -> object:
    """Return a choice as chats have it; what is none is refused there."""
    match given:
        case {"type": "function", "name": str(name)}:
            return {"type": "function", "function": {"name": name}}
        case {"type": "allowed_tools", "mode": mode, "tools": tools}:
            return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}
    return given
