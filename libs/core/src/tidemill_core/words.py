"""Unicode-aware words with their significant signs."""

import re
import string
import unicodedata

from tidemill_core.characters import stream_safe, without_ignorable

_UNSPACED = re.compile(
    "(["
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Myanmar, Khmer
    "\u3040-\u30ff\u31f0-\u31ff"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "])"
)
"""Characters of scripts without spaces between words; each counts as a word."""
_MINUS = re.compile(r"(?<!\w)[-\u2212](?=\d)")
_OPERATORS = re.compile(r"!(?==)|(?<=[^\W\d])[+#]+|[=<>\u00b1\u00d7\u00f7\u2200-\u22ff]")
_DECIMAL = re.compile(r"(?<=\d)\.(?=\d)")
_MARK = 0xF0000
"""Significant signs are mapped to these private code points during tokenization."""
_MARKS = f"[{chr(_MARK)}-{chr(_MARK + 0xFFFD)}]+"
_ALONE = re.compile(rf"(?<!\S)({_MARKS})\s+(?=\S)")
_LAST = re.compile(rf"(?<=\S)\s+({_MARKS})\s*\Z")
_INSIDE = re.compile(rf"(?<=\w)({_MARKS})(?=\w)")


def words_of(text: str) -> list[str]:
    """Return case-folded runs of letters, digits and combining marks; on ASCII text as many words as ROUGE's.

    A minus, the signs of C++ and C#, and operators belong to the adjacent word, so that -5 differs from 5 and `x == y`
    from `x != y`; a text of only these is a word.
    """
    spaced = _INSIDE.sub(r" \1", _marked(text))
    return "".join(each if _is_word(each) else " " for each in _spaced(spaced)).split()


def without_punctuation(text: str) -> str:
    """Return the case-folded text without punctuation; on ASCII text the same number of words as SQuAD's normalization.

    For other scripts as in Lewis et al., MLQA: Evaluating Cross-lingual Extractive Question Answering (2020): all
    Unicode punctuation is removed, and a character of a script without spaces is a word. The signs that `words_of`
    keeps are kept, and so is the point in 1.5.
    """
    pointed = _DECIMAL.sub(_moved, _marked(text))
    return "".join(each for each in _spaced(pointed) if not _is_punctuation(each))


def same_signs(one: str, other: str) -> bool:
    """Return whether texts without any word are equal, ignoring white space."""
    return folded(one).split() == folded(other).split()


def unspaced_characters(text: str) -> int:
    """Return how many characters are of scripts without spaces between words."""
    return 0 if text.isascii() else len(_UNSPACED.findall(text))


def folded(text: str) -> str:
    """Return the text NFKC-normalized, case-folded and without invisible characters, as datasets compare questions."""
    seen = text if text.isascii() else without_ignorable(stream_safe(text))
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())


def _marked(text: str) -> str:
    """Return the folded text with significant signs attached to the word they touch, else to the next."""
    marked = _OPERATORS.sub(_moved, _MINUS.sub(chr(_MARK + ord("-")), folded(text)))
    return _LAST.sub(r"\1", _ALONE.sub(r"\1", marked))


def _moved(found: re.Match[str]) -> str:
    return "".join(chr(_MARK + ord(each)) for each in found[0])


def _spaced(text: str) -> str:
    return _UNSPACED.sub(r" \1 ", text)


def _is_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN" or ord(character) >= _MARK


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")
