"""Measure a text: how long, in which language, how repetitive, how hard to read, how much of it is no language."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from tidemill_ingest.masking.tokens import without_pseudonyms
from tidemill_ingest.quality.policy import Measures
from tidemill_ingest.quality.traits import Traits
from tidemill_kit.texts.language import detected_language
from tidemill_kit.texts.repetition import repeated_words

_MARKS = frozenset("|`^~<>=+$")
"""Symbols of ASCII, which Markdown, code and amounts are full of."""
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_ENDS = r"[.!?:;\u3002\uff01\uff1f]"
_SENTENCE_ENDS = re.compile(rf"(?<!{_ENDS}){_ENDS}++(?=\s|$)|\n\s*\n")
"""A run of marks is tried from its start alone: a text may be nothing else."""
_CODE_LENGTHS = (2, 3)
_LONG_WORD = 6
_MIN_WORDS = 20
_MAX_WORD_LENGTH = 14
"""On average; longer ones are no words, or of a script that does not set them apart."""


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
    words = _WORD.findall(judged)
    return Traits(
        characters=len(text),
        words=len(words),
        language=_given(language) or detected_language(judged),
        readability=_readability(words, sentences=len(_SENTENCE_ENDS.findall(judged))),
        digest=int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big"),
    )


def _given(language: str) -> str:
    """Return the language that a submission names, if it is one of ISO 639."""
    name = language.partition("-")[0].lower()
    return name if name.isascii() and name.isalpha() and len(name) in _CODE_LENGTHS else ""


def _readability(words: Sequence[str], *, sentences: int) -> float | None:
    letters = sum(map(len, words))
    if len(words) < _MIN_WORDS or letters > _MAX_WORD_LENGTH * len(words):
        return None
    long_words = sum(len(word) > _LONG_WORD for word in words)
    return len(words) / max(1, sentences) + 100 * long_words / len(words)


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
