"""The vectors of a passage: a weighted sum of the vectors of its text and of its headings, and the one of its terms."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

LANGUAGES: Final = {
    "ar": "Arabic",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fi": "Finnish",
    "fr": "French",
    "hu": "Hungarian",
    "it": "Italian",
    "nl": "Dutch",
    "no": "Norwegian",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sv": "Swedish",
    "tr": "Turkish",
}
"""Languages with a stemmer and stop words, by their BCP 47 tag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseVector:
    """Weights of terms: the index of a term is a hash of its stem. Empty for a text without terms."""

    indices: tuple[int, ...] = ()
    values: tuple[float, ...] = ()


CONTEXT_WEIGHT = 0.3
"""Weight of the vector of title and headings, relative to the text's.

Mean pooling over 200 tokens drowns a title of five tokens, so the title is added as a separate vector. Measured on
examples/helpdesk's documents: without it, hit@1 equals that of one vector per document; with it, it is clearly higher.
"""


def passage_vector(text: Sequence[float], context: Sequence[float] | None) -> list[float]:
    """Return the normalised sum of the text's vector and the weighted one of its context."""
    if context is None:
        return list(text)
    mixed = [a + CONTEXT_WEIGHT * b for a, b in zip(text, context, strict=True)]
    length = math.sqrt(sum(value * value for value in mixed)) or 1.0
    return [value / length for value in mixed]


MIN_KNOWN = 1 / 8
"""Share of a text's words that the vocabulary must cover; below it, vectors are indistinguishable."""

MIN_TOKENS, MAX_TOKENS = 16, 8192
"""Token limits per text, whatever the model declares: a forward pass delays the texts of all other projects."""
