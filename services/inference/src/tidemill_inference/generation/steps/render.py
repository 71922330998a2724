"""The messages for a model: the prompt around the question, and the turns before it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidemill_inference.engines.ports import Engine
from tidemill_inference.errors import PromptTooLong
from tidemill_inference.generation.domain.content import Message, Passage, Role
from tidemill_inference.generation.steps.context import Context
from tidemill_inference.prompts.domain.prompt import PromptContent
from tidemill_inference.prompts.ports import PromptInput, Templates

DEFAULT_OUTPUT_TOKENS = 512


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """The messages for the engine, and the passages that fitted."""

    messages: tuple[Message, ...]
    passages: tuple[Passage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Render:
    """Renders the prompt for one engine, with the passages that fit into its context."""

    templates: Templates

    async def __call__(self, context: Context, engine: Engine) -> Rendered:
        """Return the prompt with the best passages first; one that is too long is left out.

        Raises:
            PromptTooLong: it does not fit without any.

        """
        offered = context.found.passages
        messages = await self._if_it_fits(context, engine, offered)
        if messages is not None:
            return Rendered(messages=messages, passages=offered)
        kept: tuple[Passage, ...] = ()
        messages = await self._if_it_fits(context, engine, kept, required=True)
        for passage in offered if len(offered) > 1 else ():
            if (longer := await self._if_it_fits(context, engine, (*kept, passage))) is not None:
                kept, messages = (*kept, passage), longer
        if cut := len(offered) - len(kept):
            context.warnings.append(f"{cut} of {len(offered)} passages cut: they did not fit the model's context")
        assert messages is not None  # noqa: S101 - required
        return Rendered(messages=messages, passages=kept)

    async def _if_it_fits(
        self, context: Context, engine: Engine, passages: tuple[Passage, ...], *, required: bool = False
    ) -> tuple[Message, ...] | None:
        """Return the messages with these passages; None if they do not fit the context together with an answer."""
        messages = await conversation(
            self.templates,
            context.caller.project,
            context.content,
            messages=context.question.messages,
            variables=context.question.variables,
            passages=passages,
        )
        if (limit := engine.context_tokens) is None:
            return messages
        output_tokens = min(context.sampling.max_output_tokens or DEFAULT_OUTPUT_TOKENS, limit // 2)
        tokens = await engine.count_tokens(messages)
        if tokens is None or tokens + output_tokens <= limit:
            return messages
        if required:
            raise PromptTooLong(tokens=tokens, limit=limit, output_tokens=output_tokens)
        return None
