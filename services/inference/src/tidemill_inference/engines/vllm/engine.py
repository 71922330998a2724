"""A base model or an adapter in vLLM: prompts become tokens here, and its text becomes calls and log probabilities."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, fields, replace
from typing import Any

from tidemill_core.errors import DependencyTimedOut, DependencyUnavailable, PreconditionFailed
from tidemill_inference.engines.chat_prompts import ChatPrompts, ChatRunner
from tidemill_inference.engines.grammars import offered_tools
from tidemill_inference.engines.local import (
    call_reader,
    capabilities_of,
    check_logit_bias,
    checked_grammar,
    output_tokens_of,
)
from tidemill_inference.engines.ports import Finish, Generated, Piece, Prompt, ToolCallPiece
from tidemill_inference.engines.tool_calls import Call, ToolCallReader
from tidemill_inference.engines.transformers.guides import Vocabulary
from tidemill_inference.engines.vllm.client import Encoded, token_of
from tidemill_inference.engines.vllm.server import VllmServer
from tidemill_inference.generation.domain.content import TokenLogprob, TopLogprob


@dataclass(frozen=True, slots=True)
class ModelText:
    """What a model's tokens mean."""

    tokenizer: Any
    vocabulary: Vocabulary
    size: int

    @classmethod
    def of(cls, tokenizer: Any) -> "ModelText":  # noqa: ANN401 - of transformers
        """Return what a tokenizer says."""
        ends = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
        return cls(tokenizer, Vocabulary(tokenizer, ends=ends), len(tokenizer))

    def logprob(self, given: TokenLogprob, *, top: int) -> TokenLogprob:
        """Return a log probability with texts for ids; vLLM's list has the token itself beside the likeliest."""
        likeliest = sorted(given.top, key=lambda each: each.logprob, reverse=True)[:top]
        said = ((each.logprob, *self.vocabulary.decoded(token_of(each.text))) for each in likeliest)
        text, utf8 = self.vocabulary.decoded(token_of(given.text))
        return TokenLogprob(
            text=text,
            logprob=given.logprob,
            utf8=utf8,
            top=tuple(TopLogprob(text=text, logprob=value, utf8=utf8) for value, text, utf8 in said),
        )


class VllmEngine:
    """A `ports.Engine` that projects share: each call names its own."""

    def __init__(  # noqa: PLR0913 - keyword-only, and each of another kind
        self,
        server: VllmServer,
        model: ModelText,
        *,
        name: str,
        fingerprint: str,
        context_tokens: int,
        run_chat: ChatRunner,
        adapter: str = "",
        adapter_bytes: int = 0,
    ) -> None:
        self._server = server
        self._model = model
        self._name = name
        self._run_chat = run_chat
        self._adapter = adapter
        self._prompts = ChatPrompts(model.tokenizer, name=name, run=run_chat)
        self.context_tokens = context_tokens
        self.adapter_bytes = adapter_bytes
        self.fingerprint = fingerprint
        self.capabilities = capabilities_of(self._prompts.tools, readable=model.vocabulary.readable)

    @property
    def alive(self) -> bool:
        """False once nothing starts the server again, or it was started again without the adapter."""
        return self._server.alive and (not self._adapter or self._server.serves(self._adapter))

    @property
    def serving(self) -> bool:
        """Whether it answers now."""
        return self._server.up

    async def aclose(self) -> None:
        """Have the server forget the adapter; the base ends with the server."""
        self._prompts.close()
        if self._adapter:
            await self._server.remove(self._adapter)

    async def count_tokens(self, project: str, prompt: Prompt) -> int:
        """See `Engine.count_tokens`."""
        return await self._prompts.count(project, prompt)

    async def generate(self, project: str, prompt: Prompt, *, timeout_s: float) -> AsyncGenerator[Generated, None]:
        """See `Engine.generate`."""
        deadline = time.monotonic() + timeout_s
        self._server.client(self._adapter)  # that it is down is said at once
        encoded = await self._encoded(project, prompt)
        if prompt.sampling.logprobs:
            await asyncio.to_thread(self._model.vocabulary.load)
        tools, top = self._prompts.tools, prompt.sampling.top_logprobs or 0
        readers = [
            _Reader(number, self._model, calls=call_reader(prompt, tools), top=top)
            for number in range(prompt.candidates)
        ]
        incarnation = self._server.incarnation
        try:
            async with aclosing(self._pieces(encoded, deadline=deadline)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Finish):
                        for made in readers[piece.candidate].end(piece, input_tokens=len(encoded.tokens)):
                            yield made
                    elif isinstance(piece, Piece):
                        for made in readers[piece.candidate].feed(piece):
                            yield made
        except DependencyTimedOut as error:
            if time.monotonic() >= deadline:
                raise TimeoutError from error
            raise
        except DependencyUnavailable:
            await self._server.check_served(incarnation)
            raise

    async def _pieces(self, encoded: Encoded, *, deadline: float) -> AsyncGenerator[Generated, None]:
        """Yield what the server says; where another replica had it forget the adapter, it is asked once more."""
        asked_again = False
        while True:
            client = self._server.client(self._adapter)
            try:
                async with aclosing(client.generate(encoded, timeout_s=deadline - time.monotonic())) as pieces:
                    async for piece in pieces:
                        yield piece
            except PreconditionFailed:
                if asked_again or not self._adapter or not await self._server.restore(self._adapter):
                    raise
                asked_again = True
            else:
                return

    async def _encoded(self, project: str, prompt: Prompt) -> Encoded:
        tokens = await self._prompts.encode(project, prompt)
        max_tokens = output_tokens_of(
            prompt.sampling, prompt_tokens=len(tokens), context_tokens=self.context_tokens, name=self._name
        )
        check_logit_bias(prompt.sampling, vocabulary=self._model.size, name=self._name)
        tools = self._prompts.tools
        grammar = await checked_grammar(project, prompt, tools, self._run_chat)
        return Encoded(
            **{each.name: getattr(prompt, each.name) for each in fields(Prompt)},
            tokens=tokens,
            max_tokens=max_tokens,
            grammar=grammar,
            special=bool(tools and tools.special and offered_tools(prompt)),
            salt=project,
        )


class _Reader:
    """Turns the text of one candidate into text, calls and an end."""

    def __init__(self, number: int, model: ModelText, *, calls: ToolCallReader | None, top: int) -> None:
        self._number = number
        self._model = model
        self._calls = calls
        self._top = top
        self._called = 0
        self._bytes = 0
        """Of the tokens that came."""
        self._said = 0
        """Bytes of the text that was yielded."""
        self._held: list[tuple[int, TokenLogprob]] = []
        """Log probabilities of tokens that begin where no text was yielded yet."""

    def feed(self, piece: Piece) -> Iterator[Generated]:
        """Yield what a piece makes certain."""
        for each in piece.logprobs:
            known = self._model.logprob(each, top=self._top)
            self._held.append((self._bytes, known))
            self._bytes += len(known.utf8)
        if self._calls is not None:
            yield from self._found(self._calls.feed(piece.text))
        elif piece.text:
            self._said += len(piece.text.encode())
            ready = tuple(known for begins, known in self._held if begins < self._said)
            self._held = self._held[len(ready) :]
            yield replace(piece, logprobs=ready)

    def end(self, finish: Finish, *, input_tokens: int) -> Iterator[Generated]:
        """Yield what was held back, and the end."""
        if self._calls is not None:
            yield from self._found(self._calls.end())
        elif self._held and finish.reason == "length":  # else they are of a stop text, or of the end
            yield Piece(candidate=self._number, logprobs=tuple(known for _, known in self._held))
        reason = "tool_calls" if self._called and finish.reason == "stop" else finish.reason
        yield replace(finish, reason=reason, input_tokens=input_tokens)

    def _found(self, found: Sequence[str | Call]) -> Iterator[Generated]:
        for each in found:
            if isinstance(each, str):
                yield Piece(text=each, candidate=self._number)
                continue
            yield ToolCallPiece(
                index=self._called, candidate=self._number, id=each.id, name=each.name, arguments=each.arguments
            )
            self._called += 1
