"""Embed texts by the model of a collection, or by any embedding model of the registry."""

import asyncio
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput, Violation
from tidemill_core.resources import refuse
from tidemill_inference.budgets.domain.metering import metered
from tidemill_inference.budgets.ports import Expected, NoBudgets, Spending
from tidemill_inference.embeddings.ports import COLLECTION, DEFAULT_MAX_TEXTS, Embedded, Embedder

_TEXTS_OF_CALL = 64
"""Their vectors fit into one reply, and other projects need not wait long."""
_SPECIAL_TOKENS = 4
"""Of a model around a text, at most."""
_MACHINE = "rag"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedTexts:
    """Asks rag for some texts at a time; `timeout_s` is how long each of these calls may take."""

    embedder: Embedder
    spending: Spending = field(default_factory=NoBudgets)
    timeout_s: float = 60.0
    max_texts: int = DEFAULT_MAX_TEXTS

    async def __call__(self, caller: Caller, *, model: str, texts: Sequence[str], dimensions: int = 0) -> Embedded:
        """Return the vectors, cut to `dimensions` where these are not 0.

        Raises:
            InvalidInput: a text is empty or too long, there are too many, or the model cannot embed them so.
            NotFound: there is no such model or collection.
            BudgetExhausted: a budget does not have enough left.
            PriceMissing: a budget of money applies, and the model has no price.
            DependencyUnavailable: rag or the store does not answer.

        """
        refuse(_violations(model, texts, dimensions, self.max_texts))
        collection = model.removeprefix(COLLECTION) if model.startswith(COLLECTION) else ""
        whole = Embedded(model=model, vectors=(), input_tokens=0)
        async with await self.spending.begin(caller, self._expected(model, collection, texts)):
            for start in range(0, len(texts), _TEXTS_OF_CALL):
                some = await self._some(caller, "" if collection else model, collection, texts, start)
                with metered(some.model, _MACHINE) as attempt:
                    attempt.finish(some.input_tokens, 0, 0)
                whole = replace(
                    some, vectors=[*whole.vectors, *some.vectors], input_tokens=whole.input_tokens + some.input_tokens
                )
        return await asyncio.to_thread(_cut_all, whole, dimensions) if dimensions else whole

    def _expected(self, model: str, collection: str, texts: Sequence[str]) -> Expected:
        """Return what it may need at most. A collection's model is known to rag only: money counts afterwards."""
        return Expected(
            deployment="",
            models=() if collection else (model,),
            input_bytes=sum(len(text.encode("utf-8", "replace")) for text in texts),
            input_tokens=_SPECIAL_TOKENS * len(texts),
            output_tokens=0,
            deadline_s=self.timeout_s * math.ceil(len(texts) / _TEXTS_OF_CALL),
        )

    async def _some(self, caller: Caller, model: str, collection: str, texts: Sequence[str], start: int) -> Embedded:
        try:
            return await self.embedder.embed(
                caller, model=model, collection=collection, texts=texts[start : start + _TEXTS_OF_CALL]
            )
        except InvalidInput as error:
            raise _numbered(error, start) from error


def _violations(model: str, texts: Sequence[str], dimensions: int, max_texts: int) -> Iterator[Violation]:
    if not model.removeprefix(COLLECTION):
        yield Violation("model", f'is required: a model, or "{COLLECTION}" and the name of a collection')
    if not 0 < len(texts) <= max_texts:
        more = ", or have INFERENCE_EMBEDDING_MAX_TEXTS raised" if texts else ""
        yield Violation("texts", f"has {len(texts)}; send 1 to {max_texts}{more}")
    if dimensions < 0:
        yield Violation("dimensions", f"is {dimensions}; use 1 or more")
    empty = next((number for number, text in enumerate(texts) if not text.strip()), None)
    if empty is not None:
        yield Violation(f"texts[{empty}]", "is empty")


def _cut_all(whole: Embedded, dimensions: int) -> Embedded:
    return replace(whole, vectors=[_cut(each, dimensions) for each in whole.vectors])


def _cut(vector: Sequence[float], dimensions: int) -> Sequence[float]:
    """Return the first numbers, scaled to length 1.

    Raises:
        InvalidInput: there are not as many.

    """
    if dimensions > len(vector):
        text = f"is {dimensions}; the model's vectors have {len(vector)}: use at most as many"
        raise InvalidInput.at(field="dimensions", text=text)
    kept = vector[:dimensions]
    length = math.hypot(*kept) or 1.0
    return [value / length for value in kept]


def _numbered(error: InvalidInput, start: int) -> InvalidInput:
    """Return the error with the numbers that the texts have for the caller."""

    def name_of(field: str) -> str:
        head, _, number = field.rstrip("]").partition("[")
        if head == "texts" and number.isdecimal():
            return f"texts[{int(number) + start}]"
        return "model" if field == "embedding" else field

    return error.renamed(name_of)
