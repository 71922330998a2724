"""Messages in the tokens of a model. Its chat template and its tokenizer are a project's own, as its prompts are.

Both run in processes with limits, and a project has its share of those. What people wrote stays text, whatever tokens
it reads like.
"""

import tempfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import structlog

from tidemill_core.errors import Blame, DependencyUnavailable, InvalidInput
from tidemill_inference.generation.domain.content import Message
from tidemill_kit.models.bounded_tokenizers import BoundedTokenizers
from tidemill_kit.models.control_tokens import BREAK, ControlTokens
from tidemill_kit.workers.bounded_processes import BoundedProcesses, WorkEndedError

IMPORTS = ("tidemill_inference.engines.chat_templates",)
"""What rendering needs, for its processes."""
MAX_RENDERED_CHARACTERS = 8 * 1024 * 1024
_MAX_COUNTED = 64
"""Prompts whose tokens are kept between counting and generating."""

_SAMPLES = ("sample-question-1", "sample-answer-2", "sample-question-3")
_log = structlog.get_logger()

Turn = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFormat:
    """How a model's conversations are written; `special` are the names of its special tokens."""

    template: str
    special: Mapping[str, str]
    control: ControlTokens


class ChatRunner(Protocol):
    """Renders the chat template of a model for a project, and reads what comes of it by its tokenizer.

    Both raise InvalidInput where these messages are too much for it, and DependencyUnavailable where a process died.
    """

    async def render(self, project: str, how: ChatFormat, turns: Sequence[Turn], *, name: str) -> str:
        """Return the text that a model goes on from, with marks in it (see `control_tokens`)."""
        ...

    async def encode(self, project: str, tokenizer: Path, text: str, *, name: str) -> list[int]:
        """Return the tokens of a rendered text."""
        ...


class BoundedChat:
    """Implements `ChatRunner` by processes with limits."""

    def __init__(self, processes: BoundedProcesses, tokenizers: BoundedTokenizers) -> None:
        self._processes = processes
        self._tokenizers = tokenizers

    async def encode(self, project: str, tokenizer: Path, text: str, *, name: str) -> list[int]:
        """See `ChatRunner`."""
        return await self._tokenizers.run(project, tokenizer, tokens_of, text, name=name)

    async def render(self, project: str, how: ChatFormat, turns: Sequence[Turn], *, name: str) -> str:
        """See `ChatRunner`."""
        try:
            text = await self._processes.run(project, rendered, how, list(turns))
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


def rendered(how: ChatFormat, turns: Sequence[Turn]) -> str | None:
    """Return the rendered text; None where it is too long."""
    from tidemill_inference.engines.chat_templates import render_jinja_template  # noqa: PLC0415 - in this process only

    named: dict[str, Any] = dict(how.special)
    marked = [{**turn, "content": how.control.marked(turn["content"])} for turn in turns]
    made: Any = render_jinja_template(
        conversations=[marked], chat_template=how.template, add_generation_prompt=True, **named
    )
    text: str = made[0][0]
    return text if len(text) <= MAX_RENDERED_CHARACTERS else None


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
        self._checked = False
        self._counted: OrderedDict[tuple[Message, ...], list[int]] = OrderedDict()
        self._folder = tempfile.TemporaryDirectory(prefix="tokenizer-")
        self._file = Path(self._folder.name) / "tokenizer.json"
        tokenizer.backend_tokenizer.save(str(self._file))

    async def count(self, project: str, messages: Sequence[Message]) -> int:
        """Return how many tokens `encode` returns, which is then asked for them; raises as that."""
        tokens = self._counted[tuple(messages)] = await self.encode(project, messages)
        if len(self._counted) > _MAX_COUNTED:
            self._counted.popitem(last=False)
        return len(tokens)

    async def encode(self, project: str, messages: Sequence[Message]) -> list[int]:
        """Return the tokens of the messages and of the beginning of an answer.

        Raises:
            InvalidInput: the model's template or tokenizer fails on them, or takes too much.
            DependencyUnavailable: a process for them died.

        """
        if (counted := self._counted.pop(tuple(messages), None)) is not None:
            return counted
        await self._check(project)
        turns = [{"role": each.role.value, "content": each.text} for each in messages]
        text = await self._run.render(project, self._how, turns, name=self._name)
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
