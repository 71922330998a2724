"""Measure a text: how long, in which language, how repetitive, how hard to read, how much of it is no language."""

import hashlib
import unicodedata
from collections import Counter

from tidemill_core.readability import Prose
from tidemill_ingest.masking.tokens import without_pseudonyms
from tidemill_ingest.quality.policy import Measures
from tidemill_ingest.quality.traits import Traits
from tidemill_kit.texts.language import detected_language
from tidemill_kit.texts.repetition import repeated_words

_MARKS = frozenset("|`^~<>=+$")
"""Symbols of ASCII, which Markdown, code and amounts are full of."""
_CODE_LENGTHS = (2, 3)
_MIN_WORDS = 20


def measure(text: str, *, language: str = "", within: int) -> Measures:
    """Return the measures of a text; all but its length are of so many characters from its start.

    A `language` that the submission names is believed. Pseudonyms count as the names of their kinds would.
    """
    judged = without_pseudonyms(text[:within])
    letters, symbols = _shares(judged)
    return Measures(
        characters=len(text),
        language=language.partition("-")[0].lower() or detected_language(judged),
        letters=letters,
        symbols=symbols,
        repeated_lines=_repeated_lines(judged),
        repeated_words=repeated_words(judged),
    )


def traits_of(text: str, *, language: str = "", within: int) -> Traits:
    """Return what profiles count of a text; all but its length and digest are of so many characters from its start."""
    judged = without_pseudonyms(text[:within])
    prose = Prose.of(judged)
    return Traits(
        characters=len(text),
        words=len(prose.words),
        language=_given(language) or detected_language(judged),
        readability=prose.lix(min_words=_MIN_WORDS),
        digest=int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big"),
    )


def _given(language: str) -> str:
    """Return the language that a submission names, if it is one of ISO 639."""
    name = language.partition("-")[0].lower()
    return name if name.isascii() and name.isalpha() and len(name) in _CODE_LENGTHS else ""


def _shares(text: str) -> tuple[float, float]:
    counts = Counter(text)
    printed = {character: count for character, count in counts.items() if not character.isspace()}
    total = sum(printed.values()) or 1
    letters = sum(count for character, count in printed.items() if unicodedata.category(character)[0] in "LMN")
    symbols = sum(count for character, count in printed.items() if _is_symbol(character))
    return letters / total, symbols / total


def _is_symbol(character: str) -> bool:
    return unicodedata.category(character)[0] in "SC" and character not in _MARKS


def _repeated_lines(text: str) -> float:
    lines = [line for line in map(str.strip, text.split("\n")) if any(map(str.isalnum, line))]
    return 1 - len(set(lines)) / len(lines) if lines else 0.0
