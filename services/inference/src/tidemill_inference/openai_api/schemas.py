"""Requests of OpenAI's chat completions as questions.

Unsupported parameters are refused by name, all at once, and never ignored. A parameter that has no effect at a certain
value (`best_of: 1`, `functions: []`) is accepted at that value, a hint (`reasoning_effort`) at any, and null is
the same as absent. Sampling that the deployment does not let a caller override is replaced by the deployment's own,
with a warning, since some clients always send some.
The field `tidemill` (`extra_body={"tidemill": {...}}` in OpenAI's Python client) is for what OpenAI has no field for:
`variables` of the prompt, `principals` (reader groups), `conversation`, whose turns come before the messages, and
`record_mode`, which may only lower what is recorded.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, FailFast, Field, StringConstraints, ValidationError

from tidemill_core.errors import InvalidInput, Violation
from tidemill_inference.deployments.domain.configuration import SAMPLING_BOUNDS, Sampling
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.generation.domain.content import Message
from tidemill_inference.generation.domain.limits import QUESTION_BOUNDS
from tidemill_inference.generation.domain.question import Question
from tidemill_inference.generation.domain.tools import ToolChoice
from tidemill_inference.openai_api.asked_tools import AskedTool, Choice, ResponseFormat
from tidemill_inference.openai_api.intents import IDEMPOTENCY_HEADER, MORE_SAMPLING
from tidemill_inference.openai_api.turns import ChatMessage, misplaced
from tidemill_kit.http.bodies import SHOWN_VIOLATIONS, Strict, object_of, problems
from tidemill_kit.http.errors import shown

_HARMLESS: Mapping[str, tuple[object, ...]] = {
    "modalities": (["text"],),
    "service_tier": ("auto", "default"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "best_of": (1,),
    "echo": (False,),
    "repetition_penalty": (1,),
    "length_penalty": (1,),
    "min_p": (0,),
    "min_tokens": (0,),
    "top_k": (0, -1),
    "ignore_eos": (False,),
    "use_beam_search": (False,),
    "skip_special_tokens": (True,),
    "chat_template_kwargs": ({},),
    "repeat_penalty": (1,),
    "typical_p": (1,),
    "tfs_z": (1,),
    "mirostat": (0,),
    "early_stopping": (False,),
    "prompt_logprobs": (0,),
    "stop_token_ids": ([],),
    "bad_words": ([],),
    "include_stop_str_in_output": (False,),
    "spaces_between_special_tokens": (True,),
    "detokenize": (True,),
    "add_special_tokens": (False,),
    "add_generation_prompt": (True,),
    "continue_final_message": (False,),
    "return_token_ids": (False,),
    "return_tokens_as_token_ids": (False,),
    **dict.fromkeys(("documents", "plugins", "safety_settings", "transforms"), ([],)),
    **dict.fromkeys(("extra_body", "extra_headers", "options", "provider"), ({},)),
}
"""Parameters that are not supported, with the values at which they change nothing."""
_HINTS = frozenset(
    ("reasoning_effort", "reasoning", "include_reasoning", "thinking", "enable_thinking", "verbosity", "prediction")
) | frozenset(("prompt_cache_key", "prompt_cache_retention", "cache_prompt", "cache_salt", "keep_alive", "priority"))
"""Parameters that ask for no other answer, and may be left out."""
_NAMES = {
    "deployment": "model",
    "request_id": IDEMPOTENCY_HEADER,
    "labels": "metadata",
    "candidate_count": "n",
    "output_format": "response_format",
    "output_format.name": "response_format.json_schema.name",
}
"""What OpenAI's API calls a question's fields."""
_PLACES = (
    (".parts", ".content"),
    ("parameters_json", "parameters"),
    ("output_format.schema_json", "response_format.json_schema.schema"),
)
_TOOL_PLACE = re.compile(r"^(tools\[\d+\])\.(\w+)")
_LIMIT = "max_output_tokens"
_UNLIMITED = -1
"""How clients of llama.cpp and LM Studio say that they set no limit."""
_MAX_LIST = 1000
"""Of what the domain takes less of, and says so in its own words."""
_ID_DIGITS = 10
_MAX_VALUES = 100_000
"""Of all variables together: each is copied and written out again."""
_MAX_INT32 = 2**31 - 1
_MAX_INT64 = 2**63 - 1


def _as_list(stop: object) -> object:
    return ([stop] if stop else []) if isinstance(stop, str) else stop


def _biases(given: object) -> object:
    """Return biases by token ids, which JSON has as text."""
    if not isinstance(given, dict) or len(given) > SAMPLING_BOUNDS.biased_tokens:
        message = f"is no object of at most {SAMPLING_BOUNDS.biased_tokens} biases by token ids"
        raise ValueError(message)
    if wrong := [token for token in given if not (token.isdecimal() and token.isascii() and len(token) < _ID_DIGITS)]:
        message = f"has {shown(wrong[0])}, which is no token id: use the tokenizer's numbers"
        raise ValueError(message)
    return {int(token): bias for token, bias in given.items()}


def _limit(given: object) -> object:
    return None if type(given) is int and given == _UNLIMITED else given


def _few(variables: dict[str, Any]) -> dict[str, Any]:
    todo: list[object] = [variables]
    count = 0
    while todo:
        value = todo.pop()
        inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        count += len(inside)
        if count > _MAX_VALUES:
            message = f"has more than {_MAX_VALUES} values: send less"
            raise ValueError(message)
        todo += inside
    return variables


class StreamOptions(Strict):
    """How a stream ends."""

    include_usage: bool = False
    include_obfuscation: Literal[False] = False
    continuous_usage_stats: Literal[False] = False


class TidemillOptions(Strict):
    """What OpenAI's API has no word for."""

    variables: Annotated[dict[str, Any], AfterValidator(_few)] = Field(default_factory=dict)
    principals: list[str] = Field(default_factory=list, max_length=QUESTION_BOUNDS.principals)
    record_mode: Literal["none", "metadata", "full"] | None = None
    conversation: Annotated[str, StringConstraints(max_length=128)] = ""
    no_cache: bool = False


class AskedAnswer(Strict):
    """What is asked for beside the messages. `model` is a deployment."""

    model: Annotated[str, StringConstraints(min_length=1)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: Annotated[int | None, BeforeValidator(_limit)] = Field(None, le=_MAX_INT32)
    max_completion_tokens: Annotated[int | None, BeforeValidator(_limit)] = Field(None, le=_MAX_INT32)
    n: int = 1
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Annotated[dict[int, float], BeforeValidator(_biases)] = Field(default_factory=dict)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, le=_MAX_INT32)
    tools: Annotated[list[AskedTool], FailFast(), Field(max_length=QUESTION_BOUNDS.tools)] = Field(default_factory=list)
    tool_choice: Choice | None = None
    parallel_tool_calls: bool = True
    response_format: ResponseFormat | None = None
    store: bool = False
    """What is recorded is the deployment's matter, and `tidemill.record_mode`'s."""
    seed: int | None = Field(None, ge=-_MAX_INT64 - 1, le=_MAX_INT64)
    stop: Annotated[list[str], FailFast(), Field(max_length=_MAX_LIST), BeforeValidator(_as_list)] = Field(
        default_factory=list
    )
    user: Annotated[str, StringConstraints(max_length=512)] = ""
    safety_identifier: Annotated[str, StringConstraints(max_length=512)] = ""
    metadata: Annotated[
        dict[
            Annotated[str, StringConstraints(min_length=1, max_length=64)],
            Annotated[str, StringConstraints(max_length=512)],
        ],
        Field(max_length=16),
    ] = Field(default_factory=dict)
    tidemill: TidemillOptions = TidemillOptions()

    @property
    def includes_usage(self) -> bool:
        """Whether the stream ends with the token usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def end_user_field(self) -> str:
        """What the caller called the end user."""
        return "safety_identifier" if self.safety_identifier else "user"

    def asking(self, messages: tuple[Message, ...]) -> Question:
        """Return what is asked with these messages, without how it is to be answered."""
        mode = self.tidemill.record_mode
        return Question(
            deployment=self.model,
            messages=messages,
            variables=self.tidemill.variables,
            conversation=self.tidemill.conversation,
            end_user=self.safety_identifier or self.user,
            principals=tuple(self.tidemill.principals),
            labels=self.metadata,
            sampling=Sampling(
                temperature=self.temperature,
                top_p=self.top_p,
                max_output_tokens=self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens,
                seed=self.seed,
                stop=tuple(self.stop),
                presence_penalty=self.presence_penalty,
                frequency_penalty=self.frequency_penalty,
                logit_bias=self.logit_bias,
                logprobs=self.logprobs or None,
                top_logprobs=self.top_logprobs or None,
            ),
            tools=tuple(each.tool() for each in self.tools),
            tool_choice=self._choice(),
            output=self.response_format.output() if self.response_format else None,
            candidates=self.n,
            record=RecordMode[mode.upper()] if mode else None,
            yielding=True,
            no_cache=self.tidemill.no_cache,
        )

    def _choice(self) -> ToolChoice:
        single = bool(self.tools) and not self.parallel_tool_calls
        return self.tool_choice.choice(single_call=single) if self.tool_choice else ToolChoice(single_call=single)

    def blamed(self, error: InvalidInput) -> InvalidInput:
        """Return the error with its fields called as this caller called them."""
        if not error.violations:
            return error
        return error.with_violations(
            Violation(self._sent_as(each.field), each.description.replace(_LIMIT, self._length))
            for each in error.violations
        )

    def contradictions(self) -> list[Violation]:
        """Return what cannot be asked together."""
        found: list[Violation] = []
        if self.response_format and self.response_format.type == "json_schema" and not self.response_format.json_schema:
            found.append(Violation("response_format.json_schema", "is required for type json_schema"))
        if self.includes_usage and not self.stream:
            found.append(Violation("stream_options", "goes with stream: true only"))
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            found.append(Violation("max_tokens", "is the old name of max_completion_tokens: send one of them"))
        if "" not in (self.user, self.safety_identifier) and self.user != self.safety_identifier:
            found.append(Violation("user", "is the old name of safety_identifier: send one of them"))
        return found

    @property
    def _length(self) -> str:
        return "max_tokens" if self.max_completion_tokens is None else "max_completion_tokens"

    def _sent_as(self, field: str) -> str:
        if field in _NAMES:
            return _NAMES[field]
        head, dot, rest = field.partition(".")
        match head:
            case "sampling" if dot:
                return self._length if rest == "max_output_tokens" else rest
            case "sampling":
                names = ("temperature", "top_p", self._length, "seed", "stop", *MORE_SAMPLING)
                return ", ".join(name for name in names if name in self.model_fields_set) or field
            case "variables" | "principals" | "record_mode" | "conversation":
                return f"tidemill.{field}"
            case _:
                return _renamed(field)


class ChatRequest(AskedAnswer):
    """What `POST /v1/chat/completions` takes."""

    messages: list[ChatMessage] = Field(max_length=QUESTION_BOUNDS.messages)

    def question(self) -> Question:
        """Return what is asked."""
        return self.asking(tuple(message.message() for message in self.messages))

    def questions(self) -> Sequence[Question]:
        """Return it as the only one."""
        return [self.question()]

    def contradictions(self) -> list[Violation]:
        """Return what cannot be asked together."""
        return [*misplaced(self.messages), *super().contradictions()]


_Asked = TypeVar("_Asked", bound=AskedAnswer)


def _renamed(field: str) -> str:
    """Return a place in a message, a tool or the output format as it is called here."""
    for ours, theirs in _PLACES:
        field = field.replace(ours, theirs)
    return _TOOL_PLACE.sub(r"\1.function.\2", field)


def chat_request_of(body: bytes) -> ChatRequest:
    """Return what a body asks for.

    Raises:
        InvalidInput: names every parameter that is missing, wrong or not supported.

    """
    return asked_of(ChatRequest, object_of(body), supported=ChatRequest.model_fields)


def asked_of(kind: type[_Asked], given: Mapping[str, Any], *, supported: Iterable[str]) -> _Asked:
    """Return what parameters ask for; `supported` are the names that an error lists.

    Raises:
        InvalidInput: as `chat_request_of`.

    """
    known = {name: value for name, value in given.items() if name in kind.model_fields}
    others = [name for name in given if name not in known and not _changes_nothing(name, given[name])]
    violations = [Violation(shown(name), _refused(name)) for name in others]
    if unknown := [violation for name, violation in zip(others, violations, strict=True) if name not in _HARMLESS]:
        text = f"{unknown[-1].description}; supported are {', '.join(supported)}"
        violations[violations.index(unknown[-1])] = Violation(unknown[-1].field, text)
    asked: _Asked | None = None
    try:
        asked = kind.model_validate(known)
    except ValidationError as error:
        violations += problems(error)
    if asked is not None:
        violations += asked.contradictions()
    if asked is None or violations:
        refusal = InvalidInput.of(*violations[:SHOWN_VIOLATIONS])
        refusal.reason = "UNSUPPORTED_PARAMETER" if others else InvalidInput.reason
        raise refusal
    return asked


def _changes_nothing(name: str, value: object) -> bool:
    """Whether a parameter may be dropped; 1 is not true here, nor 0 false."""
    return (
        value is None
        or name in _HINTS
        or any(
            value == harmless and isinstance(value, bool) is isinstance(harmless, bool)
            for harmless in _HARMLESS.get(name, ())
        )
    )


def _refused(name: str) -> str:
    if name in _HARMLESS:
        allowed = " or ".join(json.dumps(value) for value in _HARMLESS[name])
        return f"is not supported: leave it out, or send {allowed}"
    return "is not supported: leave it out"
