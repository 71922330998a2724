"""How hard a text is to read, in whichever language: LIX (Björnsson, Läsbarhet, 1968), which knows no word list."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_core.words import unspaced_characters

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_ENDS = r"[.!?:;\u3002\uff01\uff1f]"
_CLOSING = r"[\"')\]\u201c\u201d\u2019\u00bb\u300d]"
_SENTENCE_ENDS = re.compile(rf"(?<!{_ENDS}){_ENDS}++{_CLOSING}*+(?=\s|$)(?:[^\S\n]*+\n\s*\n)?|\n\s*\n")
"""A run of marks is tried from its start alone: a text may be nothing else. A blank line behind one ends no other."""
_LONG_WORD = 6
_MAX_WORD_LENGTH = 14
"""On average; longer ones are no words, or of a script that does not set them apart."""
_MAX_UNSPACED = 0.1
"""Share of letters of scripts without spaces, whose words are not counted."""


@dataclass(frozen=True, slots=True)
class Prose:
    """The words of a text, and how many sentences end in it."""

    words: Sequence[str]
    sentences: int

    @classmethod
    def of(cls, text: str) -> "Prose":
        """Return the words and sentences of a text."""
        return cls(_WORD.findall(text), len(_SENTENCE_ENDS.findall(text)))

    def lix(self, *, min_words: int = 1) -> float | None:
        """Return words per sentence and the percentage of words of more than six letters, added: 20 is easy, 60 hard.

        None of fewer words, and of what has none to count, such as a script without spaces.
        """
        letters = sum(map(len, self.words))
        if len(self.words) < max(1, min_words) or letters > _MAX_WORD_LENGTH * len(self.words):
            return None
        if unspaced_characters("".join(self.words)) > _MAX_UNSPACED * letters:
            return None
        long_words = sum(len(word) > _LONG_WORD for word in self.words)
        return len(self.words) / max(1, self.sentences) + 100 * long_words / len(self.words)
