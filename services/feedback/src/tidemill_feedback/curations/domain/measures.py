"""What is kept of a correction and of its question to compare them with others: digests and a sketch, no text."""

import math
from collections import defaultdict
from dataclasses import dataclass
from operator import eq

SIGNATURE_BYTES = 128
"""One for each minimum of a hash function (b-bit MinHash; Li and König, 2010)."""
SIMILARITY = 0.8
"""The share of different words that two corrections have in common, of those that either has, from which on they are
nearly the same."""
MIN_WORDS = 8
"""Corrections of fewer different words are compared as a whole: in a short one, a word more says something else."""
_BAND_BYTES = 8
"""Two corrections of similarity .8 have one of the 16 bands in common with a probability of .95."""
_MIN_EQUAL = math.ceil(SIMILARITY * SIGNATURE_BYTES)
_MAX_CANDIDATES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """Equal values mean equal texts, but for case, marks and white space."""

    question: str
    """Of the question, with what was said before it, its variables and its principals."""
    answer: str
    """Of the correction."""
    signature: bytes = b""
    """What a correction of at least `MIN_WORDS` different words is nearly the same by."""
    spam: str | None = None
    """Why the correction is spam, "" where it is none, None where that was not checked."""
    cohort_label: str = ""
    """The label of the reaction that was read, "" for none."""
    cohort: str = ""
    """Its value."""


class Answers:
    """Numbers answers in the order in which they come; one that is nearly the same as an earlier one has its number.

    An answer is compared with the first one of a number, so that a chain of small changes does not join all.
    """

    def __init__(self) -> None:
        self._first: list[Measures] = []
        self._by_digest: dict[str, int] = {}
        self._by_band: defaultdict[tuple[int, bytes], list[int]] = defaultdict(list)

    def number(self, measures: Measures) -> int:
        """Return the number of an answer."""
        known = self._by_digest.get(measures.answer)
        if known is None:
            known = self._similar(measures)
            if known is None:
                known = self._new(measures)
            self._by_digest[measures.answer] = known
        return known

    def _new(self, measures: Measures) -> int:
        number = len(self._first)
        self._first.append(measures)
        for band in _bands(measures.signature):
            self._by_band[band].append(number)
        return number

    def _similar(self, measures: Measures) -> int | None:
        candidates = dict.fromkeys(
            number for band in _bands(measures.signature) for number in self._by_band.get(band, ())[:_MAX_CANDIDATES]
        )
        for number in list(candidates)[:_MAX_CANDIDATES]:
            if sum(map(eq, measures.signature, self._first[number].signature)) >= _MIN_EQUAL:
                return number
        return None


def _bands(signature: bytes) -> list[tuple[int, bytes]]:
    return [(begin, signature[begin : begin + _BAND_BYTES]) for begin in range(0, len(signature), _BAND_BYTES)]
