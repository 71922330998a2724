"""Ask a model something of the service's own: to rewrite a question, to summarise turns."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from tidemill_core.application import Caller
from tidemill_core.errors import Blame, DependencyTimedOut
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.engines.ports import Engine, Engines, Finish, Models, ModelVersion, Piece, Prompt
from tidemill_inference.generation.domain.content import Message
from tidemill_inference.routing.ports import Route, Router, RunningAttempt

_MIN_CHARACTERS = 50
"""Of a last message that is shortened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskModel:
    """Implements `engines.ports.Asking`; greedy, so that the same question has the same answer.

    Retries and circuits are those of answers.
    """

    models: Models
    router: Router
    engines: Engines

    async def __call__(
        self, caller: Caller, model: str, messages: Sequence[Message], *, max_output_tokens: int, timeout_s: float
    ) -> str:
        """See `Asking`."""
        sampling = Sampling(temperature=0.0, max_output_tokens=max_output_tokens)
        asked = Prompt(messages=tuple(messages), sampling=sampling)

        async def call(model: ModelVersion, attempt: RunningAttempt, *, timeout_s: float) -> str:
            text = ""
            async with self.engines.use(caller.project, model) as engine:
                prompt = await _fitting(engine, asked)
                attempt.endpoint = engine.fingerprint.partition(" ")[0]
                async with aclosing(engine.generate(prompt, timeout_s=timeout_s)) as pieces:
                    async for piece in pieces:
                        attempt.more()
                        if isinstance(piece, Finish):
                            attempt.finished(input_tokens=piece.input_tokens, output_tokens=piece.output_tokens)
                        text += piece.text if isinstance(piece, Piece) else ""
            return text

        now = time.monotonic()
        try:
            async with asyncio.timeout(timeout_s):
                pinned = (await self.models.resolve(caller, model, field="model")).id
                route = Route(model=pinned, started=now, deadline=now + timeout_s, attempts=[], warnings=[])
                said: str = await self.router(caller, route, call)
        except TimeoutError as error:
            message = f"model {model} did not answer within {timeout_s:g} s"
            raise DependencyTimedOut(message, dependency=f"model {model}", blame=Blame.VARIANT) from error
        return said.strip()


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
