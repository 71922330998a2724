"""Messages in the tokens of a model. Its chat template and its tokenizer are a project's own, as its prompts are.

The template is rendered in a process with limits. The tokenizer has threads of its own, so that one that takes long
keeps only those waiting who ask the same model. What people wrote stays text, whatever tokens it reads like.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from tidemill_inference.domain.content import Message
from tidemill_kit.bounded_processes import BoundedProcesses, WorkEndedError
from tidemill_kit.control_tokens import ControlTokens, encoded
from tidemill_kit.errors import DependencyUnavailable, InvalidInput, NativePanic, isolated
from tidemill_kit.grpc_context import project_of_call

MAX_RENDERED_CHARACTERS = 8 * 1024 * 1024
_THREADS = 2

Turn = Mapping[str, str]


class ChatRenderer(Protocol):
    """Renders the chat template of a model."""

    async def __call__(self, template: str, turns: Sequence[Turn], special: Mapping[str, str], *, name: str) -> str:
        """Return the text that a model goes on from; `special` are the names of its special tokens.

        Raises:
            InvalidInput: the template fails on these messages, or takes too much.
            DependencyUnavailable: the process died.

        """
        ...


class BoundedChat:
    """Implements `ChatRenderer` by processes with limits."""

    def __init__(self, processes: BoundedProcesses) -> None:
        self._processes = processes

    async def __call__(self, template: str, turns: Sequence[Turn], special: Mapping[str, str], *, name: str) -> str:
        """See `ChatRenderer`."""
        try:
            text = await self._processes.run(project_of_call() or name, rendered, template, list(turns), dict(special))
        except WorkEndedError as ended:
            message = f"the chat template of {name} {ended.why}"
            if ended.cause in {"wall", "died"}:
                raise DependencyUnavailable(message, dependency="prompts") from ended
            raise InvalidInput(message, model=name) from ended
        if text is None:
            message = (
                f"the chat template of {name} makes more than {MAX_RENDERED_CHARACTERS} characters of these messages"
            )
            raise InvalidInput(message, model=name)
        return text


def prepare() -> None:
    """Import what rendering needs, before the work of a process is measured."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # each thread would take address space
    from transformers.utils import chat_template_utils  # noqa: F401, PLC0415 - seconds, and in this process only


def rendered(template: str, turns: Sequence[Turn], special: Mapping[str, str]) -> str | None:
    """Return the rendered text; None where it is too long."""
    from transformers.utils.chat_template_utils import render_jinja_template  # noqa: PLC0415 - see `prepare`

    named: dict[str, Any] = dict(special)
    made: Any = render_jinja_template(
        conversations=[[dict(turn) for turn in turns]], chat_template=template, add_generation_prompt=True, **named
    )
    text: str = made[0][0]
    return text if len(text) <= MAX_RENDERED_CHARACTERS else None


class ChatPrompts:
    """Encodes messages for one model."""

    def __init__(self, tokenizer: Any, *, name: str, render: ChatRenderer) -> None:  # noqa: ANN401 - of transformers
        self._tokenizer = tokenizer
        self._name = name
        self._render = render
        self._template: str = tokenizer.get_chat_template()
        self._control_tokens = ControlTokens.of(tokenizer)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"tokenizer {name}")

    async def encode(self, messages: Sequence[Message]) -> list[int]:
        """Return the tokens of the messages and of the beginning of an answer.

        Raises:
            InvalidInput: the model's template or tokenizer fails on them, or takes too much.
            DependencyUnavailable: the process for templates died.

        """
        marked = await self._in_thread(lambda: [self._control_tokens.marked(message.text) for message in messages])
        turns = [{"role": each.role.value, "content": text} for each, text in zip(messages, marked, strict=True)]
        text = await self._render(self._template, turns, self._tokenizer.special_tokens_map, name=self._name)
        tokens: list[int] = await self._in_thread(lambda: encoded(self._tokenizer, text))
        return tokens

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Any) -> Any:  # noqa: ANN401 - what the work returns
        try:
            with isolated():
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except NativePanic as panic:
            message = f"the tokenizer of {self._name} gives up on these messages"
            raise InvalidInput(message, model=self._name) from panic
