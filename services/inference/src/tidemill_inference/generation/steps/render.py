"""The messages for a model: the prompt around the question, and the turns before it."""

from collections.abc import Mapping, Sequence

from tidemill_inference.generation.domain.content import Message, Passage, Role
from tidemill_inference.prompts.domain.prompt import PromptContent
from tidemill_inference.prompts.ports import PromptInput, Templates


async def conversation(  # noqa: PLR0913 - keyword-only, and each of another kind
    templates: Templates,
    project: str,
    content: PromptContent,
    *,
    messages: Sequence[Message],
    variables: Mapping[str, object],
    passages: Sequence[Passage],
) -> tuple[Message, ...]:
    """Return one system message (the prompt's, then the caller's), the turns, the question in the prompt.

    It is the same for the same input, so that it can be shown again from a record.

    Raises:
        PromptRefused: the template fails on this input, or makes too much of it.

    """
    *earlier, question = messages
    given = PromptInput(question=question.text, passages=passages, messages=earlier, variables=variables)
    *system, user = await templates.render(project, content, given)
    rules = [message.text for message in (*system, *earlier) if message.role is Role.SYSTEM]
    turns = [message for message in earlier if message.role is not Role.SYSTEM]
    return (*([Message.of(Role.SYSTEM, "\n\n".join(rules))] if rules else []), *turns, user)
