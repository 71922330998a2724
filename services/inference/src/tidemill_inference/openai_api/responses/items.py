"""Items of input, which are the turns of a conversation in smaller pieces: what an answer said, each of its calls."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, FailFast, Field, StringConstraints, ValidationError

from tidemill_core.errors import Violation
from tidemill_inference.generation.domain.content import Message, Part, Role, ToolCall, ToolResult
from tidemill_inference.generation.domain.limits import QUESTION_BOUNDS
from tidemill_inference.openai_api.turns import ClientPart
from tidemill_kit.http.bodies import problems
from tidemill_kit.http.errors import shown

_ROLES = {"system": Role.SYSTEM, "developer": Role.SYSTEM, "user": Role.USER, "assistant": Role.ASSISTANT}
_Id = Annotated[str, StringConstraints(min_length=1)]


def _as_texts(given: object) -> object:
    return [{"type": "input_text", "text": given}] if isinstance(given, str) else given


class TextContent(ClientPart):
    """The one kind of content that is supported; log probabilities are an answer's, and say nothing here."""

    type: Literal["input_text", "output_text"]
    text: str
    logprobs: list[Any] = Field(default_factory=list)


Texts = Annotated[list[TextContent], FailFast(), Field(max_length=QUESTION_BOUNDS.parts), BeforeValidator(_as_texts)]


class _Item(ClientPart):
    """An item as clients keep it; they send ids and states back, which say nothing."""

    id: str = ""
    status: str = ""


class MessageItem(_Item):
    """What a user, an answer or its rules say."""

    type: Literal["message"] = "message"
    role: Literal["user", "system", "developer", "assistant"]
    content: Texts
    phase: str = ""

    def message(self) -> Message:
        """Return it as the domain knows it."""
        return Message(role=_ROLES[self.role], parts=tuple(Part(text=each.text) for each in self.content))


class FunctionCallItem(_Item):
    """A call that an earlier answer made."""

    type: Literal["function_call"]
    call_id: _Id
    name: _Id
    arguments: str = ""

    def message(self) -> Message:
        """Return it as the domain knows it."""
        call = ToolCall(id=self.call_id, name=self.name, arguments_json=self.arguments)
        return Message(role=Role.ASSISTANT, parts=(Part(tool_call=call),))


class FunctionCallOutputItem(_Item):
    """What a function returned."""

    type: Literal["function_call_output"]
    call_id: _Id
    output: Texts

    def message(self) -> Message:
        """Return it as the domain knows it."""
        result = ToolResult(id=self.call_id, text="\n".join(each.text for each in self.output))
        return Message(role=Role.TOOL, parts=(Part(tool_result=result),))


class ReasoningText(ClientPart):
    """What a model thought."""

    type: Literal["reasoning_text"]
    text: str


class ReasoningItem(_Item):
    """What a model thought before it answered; a summary of it is left out."""

    type: Literal["reasoning"]
    summary: list[Any] = Field(default_factory=list)
    content: Annotated[list[ReasoningText], FailFast(), Field(max_length=QUESTION_BOUNDS.parts)] = Field(
        default_factory=list
    )

    def message(self) -> Message:
        """Return it as the domain knows it."""
        thought = "".join(each.text for each in self.content)
        return Message(role=Role.ASSISTANT, parts=(Part(reasoning=thought),) if thought else ())


_KINDS: dict[str, type[MessageItem | FunctionCallItem | FunctionCallOutputItem | ReasoningItem]] = {
    "message": MessageItem,
    "function_call": FunctionCallItem,
    "function_call_output": FunctionCallOutputItem,
    "reasoning": ReasoningItem,
}


@dataclass(slots=True, kw_only=True)
class Input:
    """The messages of an input, the place of each, and what is wrong with it."""

    messages: list[Message] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)

    @classmethod
    def of(cls, given: object) -> "Input":
        """Return what a text or a list of items says."""
        if isinstance(given, str):
            return cls(messages=[Message.of(Role.USER, given)], places=["input"])
        if not isinstance(given, list):
            return cls(violations=[Violation("input", "is required: send a text, or a list of items")])
        if len(given) > (most := QUESTION_BOUNDS.messages):
            return cls(violations=[Violation("input", f"has {len(given)} items; send at most {most}")])
        found = cls()
        for number, item in enumerate(given):
            found._take(item, f"input[{number}]")
        return found

    def _take(self, item: object, place: str) -> None:
        kind = item.get("type", "message") if isinstance(item, dict) else None
        if not isinstance(kind, str) or kind not in _KINDS:
            what = f"is {shown(kind)}" if isinstance(kind, str) else "is no item"
            self.violations.append(Violation(f"{place}.type", f"{what}; supported: {', '.join(_KINDS)}"))
            return
        try:
            message = _KINDS[kind].model_validate(item).message()
        except ValidationError as error:
            self.violations += [Violation(f"{place}.{each.field}", each.description) for each in problems(error)]
            return
        if kind == "reasoning" and not message.parts:
            return
        if self.messages and _goes_on(self.messages[-1], message):
            last = self.messages[-1]
            self.messages[-1] = Message(role=last.role, parts=(*last.parts, *message.parts))
        else:
            self.messages.append(message)
            self.places.append(place)


def _goes_on(last: Message, item: Message) -> bool:
    """Whether an item is more of the same answer: first comes what was thought, then what was said, then the calls."""
    if last.role is not Role.ASSISTANT or item.role is not Role.ASSISTANT:
        return False
    return bool(item.tool_calls) or (not item.reasoning and not last.tool_calls and not _said(last))


def _said(message: Message) -> bool:
    return any(part.spoken is not None for part in message.parts)
