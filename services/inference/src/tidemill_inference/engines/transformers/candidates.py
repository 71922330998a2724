"""One candidate of an answer: the tokens that the batch makes for it become text, calls of tools and an end."""

import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from transformers.generation.continuous_batching.requests import GenerationOutput

from tidemill_inference.engines.ports import Finish, Generated, Piece, ToolCallPiece
from tidemill_inference.engines.text_stream import TextStream
from tidemill_inference.engines.tool_calls import Call, ToolCallReader
from tidemill_inference.engines.transformers.guides import Vocabulary
from tidemill_inference.engines.transformers.token_rules import Chosen, TokenRules
from tidemill_inference.generation.domain.content import TokenLogprob, TopLogprob


@dataclass(frozen=True, slots=True)
class ModelTokens:
    """What the tokens of a model mean: `ends` end an answer."""

    tokenizer: Any
    vocabulary: Vocabulary
    ends: Collection[int]

    def logprob(self, chosen: Chosen) -> TokenLogprob:
        """Return what is reported of a token."""
        likeliest = ((value, *self.vocabulary.decoded(each)) for each, value in chosen.top)
        top = tuple(TopLogprob(text=text, logprob=value, utf8=utf8) for value, text, utf8 in likeliest)
        text, utf8 = self.vocabulary.decoded(chosen.token)
        return TokenLogprob(text=text, logprob=chosen.logprob, utf8=utf8, top=top)


class Candidate:
    """Reads the outputs of one request of the batch, each of which has all tokens so far."""

    def __init__(  # noqa: PLR0913 - keyword-only, and each of another kind
        self,
        number: int,
        model: ModelTokens,
        *,
        prompt_tokens: int,
        stop: Sequence[str],
        rules: TokenRules | None,
        calls: ToolCallReader | None,
    ) -> None:
        self.number = number
        self.request_id = uuid.uuid4().hex
        self.rules = rules
        self.ended = False
        """Whether nothing more is read, though the batch may go on for a step."""
        self._model = model
        self._prompt_tokens = prompt_tokens
        self._text = TextStream(model.tokenizer.backend_tokenizer, stop=stop, spoken=calls.special if calls else None)
        self._calls = calls
        self._called = 0
        self._tokens = 0
        self._last: int | None = None
        self._characters = 0
        self._unreported: list[tuple[int, TokenLogprob]] = []
        """Tokens whose text was not yielded yet, each with the place where it begins."""

    def take(self, output: GenerationOutput) -> Iterator[Generated]:
        """Yield what the tokens since the last output make certain, and a Finish where they end it.

        Raises:
            Exception: the rules of its tokens cannot be followed any more.

        """
        if self.ended:
            return
        rules, finished = self.rules, output.is_finished()
        if rules is not None and rules.failed is not None:
            raise rules.failed
        tokens, whole = output.generated_tokens, False
        if rules is not None and rules.ended_at is not None and len(tokens) >= rules.ended_at:
            tokens, whole = tokens[: rules.ended_at], True
        yield from self._pieces(self._fed(tokens))
        whole = whole or self._text.stopped or (self._calls is not None and self._calls.ended)
        if not (finished or whole):
            return
        self.ended = True
        yield from self._rest()
        yield self._finish(whole=whole or self._last in self._model.ends)

    def _fed(self, tokens: Sequence[int]) -> str:
        first, self._tokens = self._tokens, len(tokens)
        fresh = tokens[first:]
        self._last = fresh[-1] if fresh else self._last
        if self.rules is None or not self.rules.logprobs:
            return self._text.feed(fresh)
        text = ""
        for number, token in enumerate(fresh, start=first):
            if token not in self._model.ends:
                begins = self._characters + len(text) + self._text.held
                self._unreported.append((begins, self._model.logprob(self.rules.chosen[number])))
            text += self._text.feed([token])
            if self._text.stopped:
                break
        self._characters += len(text)
        if self._text.stopped:
            self._unreported = [each for each in self._unreported if each[0] < self._characters]
        return text

    def _rest(self) -> Iterator[Generated]:
        if not self._text.stopped:
            yield from self._pieces(self._text.end())
        if self._calls is not None:
            yield from self._found(self._calls.end())
        if self._unreported and not (self._calls is not None and self._calls.calls):
            yield self._piece("")

    def _pieces(self, text: str) -> Iterator[Generated]:
        if text and self._calls is None:
            yield self._piece(text)
        elif text and self._calls is not None:
            yield from self._found(self._calls.feed(text))

    def _found(self, found: Sequence[str | Call]) -> Iterator[Generated]:
        for each in found:
            if isinstance(each, str):
                yield self._piece(each)
                continue
            self._unreported = []  # those of calls are not reported
            yield ToolCallPiece(
                index=self._called, candidate=self.number, id=each.id, name=each.name, arguments=each.arguments
            )
            self._called += 1

    def _piece(self, text: str) -> Piece:
        logprobs = tuple(each for _, each in self._unreported)
        self._unreported = []
        return Piece(text=text, candidate=self.number, logprobs=logprobs)

    def _finish(self, *, whole: bool) -> Finish:
        reason = "stop" if whole else "length"
        if whole and self._called:
            reason = "tool_calls"
        return Finish(
            reason=reason, input_tokens=self._prompt_tokens, output_tokens=self._tokens, candidate=self.number
        )
