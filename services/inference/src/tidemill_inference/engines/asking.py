"""Ask a model something of the service's own: to rewrite a question, to summarise turns."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from tidemill_core.application import Caller
from tidemill_core.errors import Blame, DependencyTimedOut
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.engines.ports import Engine, Engines, Models, Piece, Prompt
from tidemill_inference.generation.domain.content import Message

_MIN_CHARACTERS = 50
"""Of a last message that is shortened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskModel:
    """Implements `ports.Asking`; greedy, so that the same question has the same answer."""

    models: Models
    engines: Engines

    async def __call__(
        self, caller: Caller, model: str, messages: Sequence[Message], *, max_output_tokens: int, timeout_s: float
    ) -> str:
        """See `Asking`."""
        sampling, text = Sampling(temperature=0.0, max_output_tokens=max_output_tokens), ""
        try:
            async with asyncio.timeout(timeout_s):
                version = await self.models.resolve(caller, model, field="model")
                async with self.engines.use(caller.project, version) as engine:
                    prompt = await _fitting(engine, Prompt(messages=tuple(messages), sampling=sampling))
                    async with aclosing(engine.generate(prompt, timeout_s=timeout_s)) as pieces:
                        async for piece in pieces:
                            text += piece.text if isinstance(piece, Piece) else ""
        except TimeoutError as error:
            message = f"model {model} did not answer within {timeout_s:g} s"
            raise DependencyTimedOut(message, dependency=f"model {model}", blame=Blame.VARIANT) from error
        return text.strip()


async def _fitting(engine: Engine, prompt: Prompt) -> Prompt:
    """Return the prompt with as much of its last message as fits the model; what does not fit even so is refused by it.

    A quarter of the context is the least that is left for the answer.
    """
    if (limit := engine.context_tokens) is None:
        return prompt
    available = limit - min(prompt.sampling.max_output_tokens or 0, limit // 4)
    *others, last = prompt.messages
    text = last.text
    while (await engine.count_tokens(prompt) or 0) > available and len(text) > _MIN_CHARACTERS:
        text = text[: len(text) * 3 // 4]
        prompt = replace(prompt, messages=(*others, Message.of(last.role, text)))
    return prompt
