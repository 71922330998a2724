"""Chat completion requests as OpenAI's API has them; what is not supported is refused by name, never ignored."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tidemill_inference.domain.content import Message, Part, Role
from tidemill_inference.domain.deployment import RecordMode, Sampling
from tidemill_inference.domain.errors import QuestionRefused
from tidemill_inference.domain.inference import Purpose, Question

_ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
}
HARMLESS: Mapping[str, tuple[object, ...]] = {
    "n": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "modalities": (["text"],),
    "parallel_tool_calls": (True, False),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
}
"""Parameters that are known and have no effect, with the values for which that is true; null always is."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StreamOptions(_Strict):
    """How a stream ends."""

    include_usage: bool = False


class TextPart(_Strict):
    """The only kind of content part that is supported."""

    type: Literal["text"]
    text: str


class ChatMessage(_Strict):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = None
    refusal: None = None
    annotations: list[object] | None = None


class Extension(_Strict):
    """What Tidemill knows and OpenAI's API does not: the field `tidemill` of a request."""

    variables: dict[str, Any] = {}
    principals: list[str] = []
    labels: dict[str, str] = {}
    record_mode: Literal["none", "metadata", "full"] | None = None
    purpose: Literal["live", "shadow", "evaluation"] = "live"


class ChatRequest(_Strict):
    """A request for a chat completion; `model` is the deployment."""

    model: Annotated[str, Field(min_length=1)]
    messages: list[ChatMessage]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, str] | None = None
    tidemill: Extension = Extension()

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with a chunk about usage."""
        return bool(self.stream_options and self.stream_options.include_usage)


def chat_request_of(body: object) -> ChatRequest:
    """Return a parsed request.

    Raises:
        QuestionRefused: names the first parameter that is missing, wrong or not supported.

    """
    if not isinstance(body, dict):
        raise QuestionRefused(field="body", why="is no JSON object")
    kept = {name: value for name, value in body.items() if not _is_harmless(name, value)}
    try:
        return ChatRequest.model_validate(kept)
    except ValidationError as error:
        problem = next((each for each in error.errors() if each["type"] == "extra_forbidden"), error.errors()[0])
        raise QuestionRefused(field=_path(problem["loc"]), why=_why(problem)) from None


def question_of(request: ChatRequest) -> Question:
    """Return the question of a request."""
    extension = request.tidemill
    stops = [request.stop] if isinstance(request.stop, str) else request.stop or []
    return Question(
        deployment=request.model,
        messages=tuple(_message(message) for message in request.messages),
        variables=extension.variables,
        end_user=request.safety_identifier or request.user or "",
        principals=tuple(extension.principals),
        labels={**(request.metadata or {}), **extension.labels},
        sampling=Sampling(
            temperature=request.temperature,
            top_p=request.top_p,
            max_output_tokens=request.max_completion_tokens or request.max_tokens,
            seed=request.seed,
            stop=tuple(stops),
        ),
        record=RecordMode[extension.record_mode.upper()] if extension.record_mode else None,
        purpose=Purpose[extension.purpose.upper()],
    )


def _message(message: ChatMessage) -> Message:
    texts = [message.content] if isinstance(message.content, str) else [part.text for part in message.content]
    parts = tuple(Part(text=text) for text in texts)
    return Message(role=_ROLES[message.role], parts=parts, name=message.name or "")


def _is_harmless(name: str, value: object) -> bool:
    return name in HARMLESS and (value is None or value in HARMLESS[name])


def _path(location: tuple[int | str, ...]) -> str:
    """Return where a problem is, without pydantic's names of the alternatives that it tried."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part not in {"str", "list[TextPart]", "list[str]"}:
            path += f".{part}" if path else part
    return path


def _why(problem: Any) -> str:  # noqa: ANN401 - pydantic's own description of a problem
    name = str(problem["loc"][0])
    if name in HARMLESS:
        allowed = " or ".join(repr(value) for value in HARMLESS[name])
        return f"is not supported here; leave it out, or send {allowed}"
    if problem["type"] == "extra_forbidden":
        return "is not supported here: leave it out"
    return str(problem["msg"])
