"""Find corrections that say nothing: links and repeated words alone, or a language that no one spoke before."""

import re
from collections import Counter

from tidemill_feedback.curations.domain.filters import NO_WORDS, ONLY_LINKS, OTHER_LANGUAGE, WORDS_REPEATED
from tidemill_kit.texts.repetition import repeated_words

_MAX_REPEATED = 0.5
"""The share of words in runs that repeat."""
_MIN_WORDS = 5
_MAX_COMMONEST = 0.5
"""The share of the commonest word."""
_LINK = re.compile(r"(?:[a-z][a-z0-9+.-]{1,20}://|www\.)\S+", re.IGNORECASE)
_SAYS = re.compile(r"[^\W_]")


def spam_in(text: str, *, question: str, answer: str) -> str:
    """Return why a correction is spam, "" where it is none; marks that make a table or a line are no words."""
    if not _SAYS.search(text):
        return NO_WORDS
    if not _SAYS.search(_LINK.sub(" ", text)):
        return ONLY_LINKS
    words = [word for word in text.casefold().split() if _SAYS.search(word)]
    if len(words) >= _MIN_WORDS and max(Counter(words).values()) > _MAX_COMMONEST * len(words):
        return WORDS_REPEATED
    if repeated_words(" ".join(words)) > _MAX_REPEATED:
        return WORDS_REPEATED
    return OTHER_LANGUAGE if _other_language(text, question, answer) else ""


def _other_language(text: str, question: str, answer: str) -> bool:
    """Return whether a text is neither in the language of the question nor in that of the answer.

    An answer in another language than the question is what a correction may be about.
    """
    from tidemill_kit.texts.language import detected_language  # noqa: PLC0415 - 100 MB, loaded where a rule needs it

    language = detected_language(text)
    known = {detected_language(question), detected_language(answer)}
    return bool(language) and "" not in known and language not in known
