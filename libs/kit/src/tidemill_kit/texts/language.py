"""Which language a text is in (py3langid, which the services that use it declare)."""

import re
from functools import cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

_WITHIN = 8_000
"""The language is that of so many characters from the middle of a text: menus and contents are at its ends."""
_MIN_LETTERS = 40
"""With fewer letters no language is found reliably."""
_MIN_CONFIDENCE = 0.5
_PLACEHOLDER = re.compile(r"\[[A-Z_]{2,20}\]|https?://\S+|(?<![\w./-])[\w.-]*+[/@][\w./@-]*")
"""What says nothing about a language: masked identifiers, addresses, paths."""


def detected_language(text: str) -> str:
    """Return the language of a text by ISO 639, "" where that is not clear."""
    start = max(0, (len(text) - _WITHIN) // 2)
    words = _PLACEHOLDER.sub(" ", text[start : start + _WITHIN])
    if sum(map(str.isalpha, words)) < _MIN_LETTERS:
        return ""
    language, _ = _identifier().classify(words)
    return "" if language == "und" else str(language)


@cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True, min_confidence=_MIN_CONFIDENCE)
