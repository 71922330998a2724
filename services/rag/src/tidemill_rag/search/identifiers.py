"""Identifiers in questions: letters from A to Z, then digits, as in M-4200, GK-9931 or F24."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from tidemill_core.words import folded

MAX_IDENTIFIERS: Final = 5
"""Of a question; the first ones count."""
_IDENTIFIER: Final = re.compile(r"(?<![\w.-])([a-z]{1,12})[-_./]?([0-9]{1,20})(?!\w)")
_BETWEEN: Final = r"[\W_]{0,3}(?:[0-9]+\s?[-,;/&]\s?)*"
"""Between letters and digits of a passage: blanks, dashes and Markdown's signs, and those before it in a list."""
_DASHES: Final = re.compile("[\u2010-\u2015\u2212\ufe58\ufe63\uff0d]")
_NOTES: Final = re.compile("[\u00b2\u00b3\u00b9\u2070-\u209f\u2460-\u24ff]")
"""Raised, lowered and circled figures, as footnotes have them."""


def is_one_missing(question: str, texts: Sequence[str]) -> bool:
    """Return whether the question names an identifier that none of the texts has, however its parts are joined."""
    asked = _plain(_NOTES.sub(" ", question))
    named = [match.groups() for match in _IDENTIFIER.finditer(asked)][:MAX_IDENTIFIERS]
    if not named:
        return False
    read = "\n".join(form for text in texts for form in _forms(text))
    return any(re.search(rf"(?<![a-z]){letters}{_BETWEEN}{digits}(?![0-9])", read) is None for letters, digits in named)


def _forms(text: str) -> Iterator[str]:
    """Return how a text is read: with its raised figures as digits, and without them."""
    yield _plain(text)
    if _NOTES.search(text):
        yield _plain(_NOTES.sub(" ", text))


def _plain(text: str) -> str:
    return _DASHES.sub("-", folded(text))
