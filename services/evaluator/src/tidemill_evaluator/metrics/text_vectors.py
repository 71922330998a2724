"""The vectors of the texts of cases that are scored at the same time, in few calls."""

import asyncio
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tidemill_core.application import Caller
from tidemill_evaluator.metrics.domain.embedding import Vector
from tidemill_evaluator.metrics.ports import MAX_TEXTS, Embedder, TextRefused

Vectors = Mapping[str, Vector | None]


@dataclass(slots=True)
class _Line:
    """The texts that wait for one model, by how many cases wait for them, and the vectors that they have."""

    calling: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: Counter[str] = field(default_factory=Counter)
    known: dict[str, Vector | None] = field(default_factory=dict)

    def next_of(self, own: Sequence[str]) -> list[str]:
        """Return the texts of the next call: those of who calls first, then what others wait for."""
        missing = [text for text in dict.fromkeys([*own, *self.waiting]) if text not in self.known]
        return missing[:MAX_TEXTS]

    def keep(self, texts: Sequence[str], vectors: Sequence[Vector | None]) -> None:
        """Keep the vectors of texts that are still waited for; cases may have been cancelled since the call."""
        found = zip(texts, vectors, strict=True)
        self.known |= {text: vector for text, vector in found if text in self.waiting}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextVectors:
    """Embeds the texts of cases: of a model one call at a time, which takes along what other cases wait for.

    A text that several cases have is embedded once while any of them waits. One that is too long for the model is cut
    in halves, and has the mean of their vectors by length; one that the model does not take has none.
    """

    embedder: Embedder
    lines: dict[tuple[str, str], _Line] = field(default_factory=dict)
    """What waits, by project and version; nothing while no case is scored."""

    async def __call__(self, caller: Caller, version: str, texts: Sequence[str]) -> Vectors:
        """Return the vectors of the texts by a `model@version`.

        Raises:
            NotFound, InvalidInput, PreconditionFailed, DependencyUnavailable: see `Embedder.embed`.

        """
        key, requested = (caller.project, version), list(dict.fromkeys(texts))
        line = self.lines.setdefault(key, _Line())
        line.waiting.update(requested)
        try:
            async with line.calling:
                while not line.known.keys() >= set(requested):
                    some = line.next_of(requested)
                    line.keep(some, await self._embedded(caller, version, some))
            return {text: line.known[text] for text in requested}
        finally:
            line.waiting.subtract(requested)
            for text in [text for text in requested if not line.waiting[text]]:
                del line.waiting[text]
                line.known.pop(text, None)
            if not line.waiting:
                del self.lines[key]

    async def _embedded(self, caller: Caller, version: str, texts: Sequence[str]) -> list[Vector | None]:
        if not texts:
            return []
        try:
            return [*await self.embedder.embed(caller, version, texts)]
        except TextRefused as refused:
            number = refused.number
            halves = _halves(texts[number]) if refused.too_long else []
        before = await self._embedded(caller, version, texts[:number])
        of_halves = await self._embedded(caller, version, halves)
        behind = await self._embedded(caller, version, texts[number + 1 :])
        return [*before, _mean(halves, of_halves), *behind]


def _halves(text: str) -> list[str]:
    """Return both halves of a text, cut at a space near its middle if there is one; none of one character."""
    middle = len(text) // 2
    space = text.rfind(" ", middle // 2, middle)
    cut = space if space > 0 else middle
    return [half for each in (text[:cut], text[cut:]) if (half := each.strip())] if middle else []


def _mean(texts: Sequence[str], vectors: Sequence[Vector | None]) -> Vector | None:
    """Return the mean of vectors by the length of their texts, of length 1; None without one of them."""
    known = [each for each in vectors if each is not None]
    if not known or len(known) < len(vectors):
        return None
    columns = zip(*known, strict=True)
    total = [sum(len(text) * value for text, value in zip(texts, column, strict=True)) for column in columns]
    length = math.hypot(*total)
    return [value / length for value in total] if length else None
