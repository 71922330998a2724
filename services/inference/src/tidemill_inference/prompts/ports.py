"""Prompts, and what checks and renders them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tidemill_core.application import Aggregates
from tidemill_inference.generation.domain.content import Message, Passage
from tidemill_inference.prompts.domain.prompt import Prompt, PromptContent

Prompts = Aggregates[Prompt]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedPrompt:
    """A checked content; contents that differ only in comments or layout have the same digest."""

    content: PromptContent
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptInput:
    """The input of a template; `messages` are those before the question."""

    question: str
    passages: Sequence[Passage] = ()
    messages: Sequence[Message] = ()
    variables: Mapping[str, object] = field(default_factory=dict)


class Templates(Protocol):
    """Checks and renders prompts, which are untrusted code of a project, with limits on CPU time, memory and wall time.

    Every method raises PromptRefused also if a prompt exceeds a limit, and RateLimited if too much of the project's
    work waits already.
    """

    async def check(self, project: str, content: PromptContent) -> CheckedPrompt:
        """Return the content with its digest.

        Raises:
            PromptRefused: every problem of both templates and the schema, each with its line.

        """
        ...

    async def check_variables(self, project: str, content: PromptContent, variables: Mapping[str, object]) -> None:
        """Refuse variables that the prompt's schema does not allow.

        Raises:
            InvalidInput: every problem.

        """
        ...

    async def render(self, project: str, content: PromptContent, given: PromptInput) -> tuple[Message, ...]:
        """Return the system message, if the prompt has one, and the user message.

        Raises:
            PromptRefused: the template fails on this input, or its output is too long.

        """
        ...
