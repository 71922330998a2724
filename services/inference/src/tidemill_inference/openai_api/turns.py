"""The messages of a request: turns of a conversation as clients keep and send it."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, FailFast, Field, StringConstraints, model_validator

from tidemill_core.errors import Violation
from tidemill_inference.generation.domain.content import Message, Part, Role, ToolCall, ToolResult
from tidemill_inference.generation.domain.limits import QUESTION_BOUNDS
from tidemill_kit.http.bodies import Strict

_ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "tool": Role.TOOL,
}
_HINT_OF_A_PART = "cache_control"
_ONLY_OF_ANSWERS = frozenset({"annotations", "index"})
"""What an answer has, and clients that keep it send back."""
_NOTHING: tuple[object, ...] = ("", [], {}, None)
"""Values at which a part of a message that is not supported means nothing."""


def _as_parts(content: object) -> object:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


class ClientPart(Strict):
    """A part of a conversation as clients keep and send it: with places for what it has not, and hints."""

    @model_validator(mode="before")
    @classmethod
    def _leave_out_what_says_nothing(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        return {
            name: value
            for name, value in given.items()
            if name in cls.model_fields
            or not (name == _HINT_OF_A_PART or name in _ONLY_OF_ANSWERS or value in _NOTHING)
        }


class TextPart(ClientPart):
    """The one kind of content that is supported."""

    type: Literal["text"]
    text: str


class CalledFunction(ClientPart):
    """What the model called; its arguments are JSON as it wrote it."""

    name: Annotated[str, StringConstraints(min_length=1)]
    arguments: str = ""


class MadeToolCall(ClientPart):
    """A call that an earlier answer made."""

    id: Annotated[str, StringConstraints(min_length=1)]
    type: Literal["function"] = "function"
    function: CalledFunction

    def part(self) -> Part:
        """Return it as the domain knows it."""
        call = ToolCall(id=self.id, name=self.function.name, arguments_json=self.function.arguments)
        return Part(tool_call=call)


class ChatMessage(ClientPart):
    """One turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[list[TextPart], FailFast(), Field(max_length=QUESTION_BOUNDS.parts), BeforeValidator(_as_parts)]
    name: str = ""
    tool_calls: Annotated[list[MadeToolCall], FailFast(), Field(max_length=QUESTION_BOUNDS.tools)] = Field(
        default_factory=list
    )
    tool_call_id: str = ""
    reasoning_content: str = ""

    @model_validator(mode="before")
    @classmethod
    def _say_nothing_beside_calls(cls, given: Any) -> Any:  # noqa: ANN401 - whatever a body has
        """Let a message without content pass that calls tools, as OpenAI's own answers are."""
        if isinstance(given, dict) and given.get("tool_calls") and given.get("content") in (None, ""):
            return {**given, "content": []}
        return given

    def message(self) -> Message:
        """Return it as the domain knows it; a developer's rules are the system's."""
        role, text = _ROLES[self.role], tuple(Part(text=part.text) for part in self.content)
        if role is Role.TOOL:
            result = ToolResult(id=self.tool_call_id, text="\n".join(part.text for part in text))
            return Message(role=role, parts=(Part(tool_result=result),), name=self.name)
        thought = (Part(reasoning=self.reasoning_content),) if self.reasoning_content else ()
        calls = tuple(call.part() for call in self.tool_calls)
        return Message(role=role, parts=(*thought, *text, *calls), name=self.name)


def misplaced(messages: Sequence[ChatMessage]) -> Iterator[Violation]:
    """Yield what messages have that those of their roles do not, or lack."""
    for number, message in enumerate(messages):
        if message.role == "tool" and not message.tool_call_id:
            yield Violation(f"messages[{number}].tool_call_id", "is required in a message of role tool")
        for name, role in (("tool_call_id", "tool"), ("tool_calls", "assistant"), ("reasoning_content", "assistant")):
            if getattr(message, name) and message.role != role:
                why = f"is for messages of role {role} only: leave it out"
                yield Violation(f"messages[{number}].{name}", why)
