"""How identifiers are given: as half-open ranges of a text, in order and apart from each other."""

import re
import string
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]
Finder: TypeAlias = Callable[[str], Iterable[Span]]

_ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def apart(spans: Iterable[Span]) -> list[Span]:
    """Return the spans in order; of two that overlap the first counts."""
    kept: list[Span] = []
    for start, stop in sorted(spans):
        if not kept or start >= kept[-1][1]:
            kept.append((start, stop))
    return kept


def blanked(text: str, spans: Iterable[Span]) -> str:
    """Return the text with each span covered, at its length: what is found is not there for the next finder."""
    return replaced(text, ((span, f"[{chr(0) * (span[1] - span[0] - 2)}]"[: span[1] - span[0]]) for span in spans))


def replaced(text: str, replacements: Iterable[tuple[Span, str]]) -> str:
    """Return the text with another text in place of each span; the spans are in order and apart."""
    parts: list[str] = []
    end = 0
    for (start, stop), other in replacements:
        parts += (text[end:start], other)
        end = stop
    parts.append(text[end:])
    return "".join(parts)


def moved(places: Iterable[int], replacements: Iterable[tuple[Span, str]]) -> list[int]:
    """Return where places of a text are in the replaced one; one within a span is where its replacement begins.

    Places and spans are in order.
    """
    found, shift = list[int](), 0
    remaining = iter(replacements)
    following = next(remaining, None)
    for place in places:
        while following and following[0][1] <= place:
            (start, stop), other = following
            shift += len(other) - (stop - start)
            following = next(remaining, None)
        inside = following is not None and following[0][0] < place
        found.append((following[0][0] if following and inside else place) + shift)
    return found


def window(text: str, start: int, *, before: int) -> str:
    """Return what stands right before a place, at most so many characters."""
    return text[max(0, start - before) : start]


def matches_at(text: str, word: str, form: re.Pattern[str]) -> Iterator[re.Match[str]]:
    """Yield where the form matches from the word on, which is given in lower case and found in any.

    A plain search for a word is a hundred times faster than the form tried at every place.
    """
    lowered = _lowered(text)
    place = lowered.find(word)
    while place >= 0:
        if match := form.match(text, place):
            yield match
        place = lowered.find(word, place + 1)


@lru_cache(maxsize=1)
def _lowered(text: str) -> str:
    """Return the text in lower case, each character at its place: a few, such as İ, would become two."""
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else text.translate(_ASCII_LOWER)
