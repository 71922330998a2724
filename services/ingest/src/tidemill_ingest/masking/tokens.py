"""Pseudonyms as they stand in texts: [EMAIL:k3f9wq7hd2mzxp], the same for the same value of a project."""

import hmac
import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import TypeVar

from tidemill_ingest.masking.kinds import MaskKind
from tidemill_ingest.masking.spans import Span

F = TypeVar("F")

_LETTERS = "bcdfghjkmnpqrtvwxz"
_CHARACTERS = _LETTERS + "23456789"
"""No vowels, no s and no y: a token is no word, and no stemmer cuts its end. Nor is there what is easily misread."""
_MORE = 13
"""Behind a letter, by which no token is a number: 18 x 26^13 tokens of a kind, 65 bits."""
_FORM = rf"\[(?:{'|'.join(kind.name for kind in MaskKind)}):[{_LETTERS}][{_CHARACTERS}]{{{_MORE}}}\]"
TOKEN = re.compile(_FORM)
LENGTH = 1 + _MORE


def token_of(key: bytes, kind: MaskKind, value: str) -> str:
    """Return what stands for a value: a keyed digest (HMAC-SHA-256), on which guesses cannot be tried without the key.

    `key` is the project's; the value is in its plain form.
    """
    number = int.from_bytes(hmac.digest(key, f"{kind.value}\0{value}".encode(), "sha256")[:16])
    number, first = divmod(number, len(_LETTERS))
    characters = [_LETTERS[first]]
    for _ in range(_MORE):
        number, next_one = divmod(number, len(_CHARACTERS))
        characters.append(_CHARACTERS[next_one])
    return f"[{kind.name}:{''.join(characters)}]"


def token_spans(text: str) -> list[Span]:
    """Return where tokens are in a text: they stay as they are, whatever masks the text next."""
    return [match.span() for match in TOKEN.finditer(text)]


def without_pseudonyms(text: str) -> str:
    """Return a text as masking without pseudonyms leaves it: [EMAIL] in place of [EMAIL:k3f9wq7hd2mzxp]."""
    return TOKEN.sub(lambda token: f"{token[0].partition(':')[0]}]", text)


def outside_tokens(text: str, found: Iterable[tuple[Span, F]]) -> list[tuple[Span, F]]:
    """Return what was found in a text, but for what is in, or reaches into, a token of it."""
    spans = token_spans(text)
    ends = [stop for _, stop in spans]
    return [each for each in found if not _meets(spans, ends, each[0])]


def _meets(spans: Sequence[Span], ends: Sequence[int], span: Span) -> bool:
    place = bisect_right(ends, span[0])
    return place < len(spans) and spans[place][0] < span[1]
