"""Prompts, and what checks and renders them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tidemill_core.application import Aggregates, Page, PageRequest
from tidemill_inference.generation.domain.content import Message, Passage
from tidemill_inference.prompts.domain.prompt import Prompt, PromptContent

Prompts = Aggregates[Prompt]
MAX_RENDERED_CHARACTERS = 1024 * 1024
"""Of one message that a template makes."""


class ReadPrompts(Protocol):
    """What a project may read."""

    async def get(self, project: str, name: str, /) -> Prompt:
        """Return a prompt of the project, or `<owner>/<id>`: one that another project shares with it.

        Raises:
            PromptNotFound: there is none, or it is not shared: which of both is not said.

        """
        ...

    async def list(self, project: str, *, page: PageRequest) -> Page[Prompt]:
        """Return a page of the project's own."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedPrompt:
    """A checked content; contents that differ only in comments or layout have the same digest."""

    content: PromptContent
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptInput:
    """The input of a template; `messages` are those before the question, `summary` is that of those before them.

    `memory` is what is remembered of the end user, a line each.
    """

    question: str
    passages: Sequence[Passage] = ()
    messages: Sequence[Message] = ()
    variables: Mapping[str, object] = field(default_factory=dict)
    summary: str = ""
    memory: Sequence[str] = ()


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
