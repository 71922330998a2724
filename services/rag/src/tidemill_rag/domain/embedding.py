"""How a passage's vector is made of its text and of where it stands."""

import math
from collections.abc import Sequence

CONTEXT_WEIGHT = 0.3
"""How much a passage's title and headings count beside its text.

Mean pooling over 200 tokens drowns a title of five; added as a vector of its own it counts again. Measured by
tests/bench/retrieval.py: without it hit@1 is what whole documents reach, with it clearly more.
"""


def passage_vector(text: Sequence[float], context: Sequence[float] | None) -> list[float]:
    """Return the normalised sum of the text's vector and the weighted one of its context."""
    if context is None:
        return list(text)
    mixed = [a + CONTEXT_WEIGHT * b for a, b in zip(text, context, strict=True)]
    length = math.sqrt(sum(value * value for value in mixed)) or 1.0
    return [value / length for value in mixed]


MIN_KNOWN = 1 / 8
"""Of the words of a text that is distinguished from others: texts of which a model knows less all lie at one place."""

MIN_TOKENS, MAX_TOKENS = 16, 8192
"""Of one text, whatever a model says of itself: one pass through it holds up the texts of everyone else."""
