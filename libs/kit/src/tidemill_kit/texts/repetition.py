"""How much of a text repeats."""

from collections import Counter
from itertools import pairwise

_RUN = 5
"""Words in a row of which a repetition counts, as in Gopher's rules of the paragraph "repetitious text"."""


def repeated_words(text: str) -> float:
    """Return which share of the words is in runs of five that occur more than once; 0 of a text of fewer than ten."""
    words = text.split()
    if len(words) < 2 * _RUN:
        return 0.0
    runs = list(zip(*(words[offset:] for offset in range(_RUN)), strict=False))
    counts = Counter(runs)
    # Each run begins `_RUN` words or less behind the one before: what both cover is counted once.
    repeated = [position for position, run in enumerate(runs) if counts[run] > 1]
    if not repeated:
        return 0.0
    covered = sum(min(_RUN, later - earlier) for earlier, later in pairwise(repeated)) + _RUN
    return covered / len(words)
