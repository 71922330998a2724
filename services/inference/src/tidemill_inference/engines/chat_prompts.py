"""Messages and tools in the tokens of a model. Its chat template and its tokenizer are a project's own, as prompts are.

Both run in processes with limits, and a project has its share of those. What people wrote stays text, whatever tokens
it reads like.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import structlog
from cachetools import LRUCache

from tidemill_core.errors import Blame, DependencyUnavailable, InvalidInput
from tidemill_inference.engines import grammars
from tidemill_inference.engines.grammars import BoundedGrammars, GrammarChecker, offered_tools
from tidemill_inference.engines.ports import Prompt
from tidemill_inference.engines.tool_calls import ToolFormat
from tidemill_inference.generation.domain.content import Message
from tidemill_inference.generation.domain.tools import Tool
from tidemill_kit.models.bounded_tokenizers import BoundedTokenizers
from tidemill_kit.models.control_tokens import BREAK, ControlTokens
from tidemill_kit.workers.bounded_processes import BoundedProcesses, WorkEndedError

IMPORTS = ("tidemill_inference.engines.chat_templates", *grammars.IMPORTS)
"""What rendering, and compiling schemas, needs, for its processes."""
MAX_RENDERED_CHARACTERS = 8 * 1024 * 1024
_MAX_COUNTED = 64
"""Prompts whose tokens are kept between counting and generating."""

_SAMPLES = ("sample-question-1", "sample-answer-2", "sample-question-3")
_log = structlog.get_logger()

Turn = Mapping[str, Any]
"""A message as chat templates read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFormat:
    """How a model's conversations are written; `special` are the names of its special tokens."""

    template: str
    special: Mapping[str, str]
    control: ControlTokens


class ChatRunner(GrammarChecker, Protocol):
    """Renders the chat template of a model for a project, and reads what comes of it by its tokenizer.

    Both raise InvalidInput where these messages are too much for it, and DependencyUnavailable where a process died.
    """

    async def render(
        self, project: str, how: ChatFormat, turns: Sequence[Turn], tools: Sequence[Turn] = (), *, name: str
    ) -> str:
        """Return the text that a model goes on from, with marks in it (see `control_tokens`)."""
        ...

    async def encode(self, project: str, tokenizer: Path, text: str, *, name: str) -> list[int]:
        """Return the tokens of a rendered text."""
        ...


class BoundedChat:
    """Implements `ChatRunner` by processes with limits."""

    def __init__(
        self, processes: BoundedProcesses, tokenizers: BoundedTokenizers, grammars: BoundedGrammars | None = None
    ) -> None:
        self._processes = processes
        self._tokenizers = tokenizers
        self._grammars = grammars or BoundedGrammars(processes)

    async def check(self, project: str, grammar: str) -> None:
        """See `GrammarChecker`."""
        await self._grammars.check(project, grammar)

    async def encode(self, project: str, tokenizer: Path, text: str, *, name: str) -> list[int]:
        """See `ChatRunner`."""
        return await self._tokenizers.run(project, tokenizer, tokens_of, text, name=name)

    async def render(
        self, project: str, how: ChatFormat, turns: Sequence[Turn], tools: Sequence[Turn] = (), *, name: str
    ) -> str:
        """See `ChatRunner`."""
        try:
            text = await self._processes.run(project, rendered, how, list(turns), list(tools))
        except WorkEndedError as ended:
            message = f"the chat template of {name} {ended.why}"
            if ended.cause in {"wall", "died"}:
                raise DependencyUnavailable(message, dependency="prompts", blame=Blame.VARIANT) from ended
            raise InvalidInput(message, model=name) from ended
        if text is None:
            message = (
                f"the chat template of {name} makes more than {MAX_RENDERED_CHARACTERS} characters of these messages"
            )
            raise InvalidInput(message, model=name)
        return text


def rendered(how: ChatFormat, turns: Sequence[Turn], tools: Sequence[Turn] = ()) -> str | None:
    """Return the rendered text; None where it is too long."""
    from tidemill_inference.engines.chat_templates import render_jinja_template  # noqa: PLC0415 - in this process only

    named: dict[str, Any] = dict(how.special)
    made: Any = render_jinja_template(
        conversations=[[_marked(turn, how.control) for turn in turns]],
        tools=[_marked(tool, how.control) for tool in tools] or None,
        chat_template=how.template,
        add_generation_prompt=True,
        **named,
    )
    text: str = made[0][0]
    return text if len(text) <= MAX_RENDERED_CHARACTERS else None


def _marked(value: Any, control: ControlTokens) -> Any:  # noqa: ANN401 - of a turn, which is JSON
    """Return it with every text in it marked; roles are none of what people wrote, and have no control tokens."""
    if isinstance(value, str):
        return control.marked(value)
    if isinstance(value, Mapping):
        return {_marked(key, control): _marked(each, control) for key, each in value.items()}
    if isinstance(value, list):
        return [_marked(each, control) for each in value]
    return value


def turns_of(messages: Sequence[Message]) -> list[Turn]:
    """Return messages as chat templates read them: each result of a tool is a turn of its own."""
    called: dict[str, str] = {}
    turns: list[Turn] = []
    for message in messages:
        called |= {call.id: call.name for call in message.tool_calls}
        if results := message.tool_results:
            turns += [
                {"role": "tool", "content": each.text, "tool_call_id": each.id, "name": called.get(each.id, "")}
                for each in results
            ]
            continue
        turn: dict[str, Any] = {"role": message.role.value, "content": message.text}
        if message.tool_calls:
            turn["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": _read(call.arguments_json)},
                }
                for call in message.tool_calls
            ]
        if message.reasoning:
            turn["reasoning_content"] = message.reasoning
        turns.append(turn)
    return turns


def _shown(tool: Tool) -> Turn:
    function: dict[str, Any] = {"name": tool.name, "description": tool.description}
    function["parameters"] = (
        _read(tool.parameters_json) if tool.parameters_json else {"type": "object", "properties": {}}
    )
    return {"type": "function", "function": function}


def _read(text: str) -> Any:  # noqa: ANN401 - JSON, or the text that is none
    try:
        return json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return text


def tokens_of(tokenizer: Any, text: str) -> list[int]:  # noqa: ANN401 - of a library without types
    """Return the tokens of a rendered text, each piece between marks read apart."""
    pieces = [piece for piece in text.split(BREAK) if piece]
    return [token for piece in pieces for token in tokenizer.encode(piece, add_special_tokens=False).ids]


class ChatPrompts:
    """Encodes messages for one model, in turns of the project that asks."""

    def __init__(self, tokenizer: Any, *, name: str, run: ChatRunner) -> None:  # noqa: ANN401 - of transformers
        self._name = name
        self._run = run
        self._how = ChatFormat(
            template=tokenizer.get_chat_template(),
            special=dict(tokenizer.special_tokens_map),
            control=ControlTokens.of(tokenizer),
        )
        special = dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
        self.tools = ToolFormat.of(self._how.template, special)
        """How the model is shown tools and calls them, if it does."""
        self._checked = False
        self._counted: LRUCache[object, list[int]] = LRUCache(_MAX_COUNTED)
        self._folder = tempfile.TemporaryDirectory(prefix="tokenizer-")
        self._file = Path(self._folder.name) / "tokenizer.json"
        tokenizer.backend_tokenizer.save(str(self._file))

    async def count(self, project: str, prompt: Prompt) -> int:
        """Return how many tokens `encode` returns, which is then asked for them; raises as that."""
        tokens = self._counted[_key(prompt)] = await self.encode(project, prompt)
        return len(tokens)

    async def encode(self, project: str, prompt: Prompt) -> list[int]:
        """Return the tokens of the messages, of the tools that may be called, and of the beginning of an answer.

        Raises:
            InvalidInput: the model's template or tokenizer fails on them, or takes too much.
            DependencyUnavailable: a process for them died.

        """
        if (counted := self._counted.pop(_key(prompt), None)) is not None:
            return counted
        await self._check(project)
        tools = [_shown(tool) for tool in offered_tools(prompt)] if self.tools else []
        text = await self._run.render(project, self._how, turns_of(prompt.messages), tools, name=self._name)
        return await self._run.encode(project, self._file, text, name=self._name)

    async def _check(self, project: str) -> None:
        """Log, once, that the model's turns are marked by plain text, which any message may hold."""
        if self._checked:
            return
        self._checked = True
        roles = zip(("user", "assistant", "user"), _SAMPLES, strict=True)
        turns = [{"role": role, "content": content} for role, content in roles]
        with suppress(InvalidInput, DependencyUnavailable):  # the messages themselves say so
            text = await self._run.render(project, self._how, turns, name=self._name)
            if not self._how.control.separate(text, _SAMPLES):
                _log.warning("chat_turns_unprotected", model=self._name)

    def close(self) -> None:
        """Remove the tokenizer's file."""
        self._folder.cleanup()


def _key(prompt: Prompt) -> object:
    """Return what the tokens of a prompt depend on."""
    return prompt.messages, prompt.tools, prompt.tool_choice
