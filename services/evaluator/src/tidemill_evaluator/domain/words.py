"""What a word is, in any script."""

import re
import string
import unicodedata

_UNSPACED = re.compile(
    "(["
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Myanmar, Khmer
    "\u3040-\u30ff\u31f0-\u31ff"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "])"
)
"""Characters of scripts that set no spaces between words: each stands for a word."""


def words_of(text: str) -> list[str]:
    """Return the runs of letters, digits and their marks, folded: of ASCII text what ROUGE takes for its words."""
    return "".join(each if unicodedata.category(each)[0] in "LMN" else " " for each in _spaced(text)).split()


def without_punctuation(text: str) -> str:
    """Return the text folded and without punctuation: of ASCII text what SQuAD leaves.

    Elsewhere as Lewis et al., MLQA: Evaluating Cross-lingual Extractive Question Answering (2020), have it: what
    Unicode calls punctuation goes too, and a character of a script without spaces is a word.
    """
    return "".join(each for each in _spaced(text) if not _is_punctuation(each))


def _spaced(text: str) -> str:
    return _UNSPACED.sub(r" \1 ", unicodedata.normalize("NFC", text.casefold()))


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")
