"""Prompts checked and rendered in processes with limits: a template is a program that a project wrote."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from tidemill_core.errors import Blame, DependencyUnavailable, InvalidInput, TidemillError, Violation
from tidemill_inference.generation.domain.content import Message
from tidemill_inference.prompts import plain_templates
from tidemill_inference.prompts.domain.errors import PromptRefused
from tidemill_inference.prompts.domain.prompt import PromptContent
from tidemill_inference.prompts.ports import CheckedPrompt, PromptInput
from tidemill_kit.workers.bounded_processes import BoundedProcesses, WorkEndedError

_Work = Literal["check", "check_variables", "render"]
"""Of `JinjaTemplates`."""
IMPORTS = (__name__, "tidemill_inference.prompts.jinja_templates")
"""What the work needs, for its processes."""


class BoundedTemplates:
    """Implements `ports.Templates`. What a prompt takes too much of is the prompt's fault."""

    def __init__(self, processes: BoundedProcesses) -> None:
        self._processes = processes
        self._warming: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to start the processes, so that the first prompt waits for them less; nothing else waits."""
        self._warming = asyncio.create_task(self._warm(), name="warm-prompts")

    async def _warm(self) -> None:
        with suppress(TidemillError):  # the next prompt reports it
            await self.check("", PromptContent(user="{{ question }}"))

    async def stop(self) -> None:
        """Stop the processes."""
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.wait({self._warming})
        await self._processes.stop()

    async def check(self, project: str, content: PromptContent) -> CheckedPrompt:
        """See `Templates.check`."""
        checked: CheckedPrompt = await self._run(project, "check", content)
        return checked

    async def check_variables(self, project: str, content: PromptContent, variables: Mapping[str, object]) -> None:
        """See `Templates.check_variables`."""
        if variables or content.variables_schema.strip():
            await self._run(project, "check_variables", content, dict(variables))

    async def render(self, project: str, content: PromptContent, given: PromptInput) -> tuple[Message, ...]:
        """See `Templates.render`. A prompt that only names texts needs no process."""
        if (plain := plain_templates.rendered(content, given)) is not None:
            return plain
        messages: tuple[Message, ...] = await self._run(project, "render", content, given)
        return messages

    async def _run(self, project: str, work: _Work, *arguments: object) -> Any:  # noqa: ANN401 - what the work returns
        try:
            outcome = await self._processes.run(project, _refusable, work, *arguments)
        except WorkEndedError as ended:
            if ended.cause in {"wall", "died"}:
                message = f"the process for prompts {ended.why}: try again"
                raise DependencyUnavailable(message, dependency="prompts", blame=Blame.VARIANT) from ended
            text = f"{ended.why} for this question and its passages: simplify the template"
            raise PromptRefused(Violation("content", text)) from ended
        if isinstance(outcome, _Refused):
            raise outcome.error()
        return outcome


@dataclass(frozen=True, slots=True)
class _Refused:
    """An InvalidInput on its way between processes."""

    violations: tuple[Violation, ...]
    of_prompt: bool

    def error(self) -> InvalidInput:
        return PromptRefused(*self.violations) if self.of_prompt else InvalidInput.of(*self.violations)


def _refusable(work: _Work, *arguments: object) -> Any:  # noqa: ANN401 - what the work returns
    from tidemill_inference.prompts.jinja_templates import JinjaTemplates  # noqa: PLC0415 - in the processes only

    try:
        return getattr(JinjaTemplates(), work)(*arguments)
    except InvalidInput as refused:
        return _Refused(refused.violations, isinstance(refused, PromptRefused))
