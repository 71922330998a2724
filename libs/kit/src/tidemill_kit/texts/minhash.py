"""Runs of words as numbers, and their minima (MinHash), by which texts that are nearly the same are found.

By numpy, which the services that use it declare: no word and no run of words becomes an object of Python. All
arithmetic is of unsigned 64-bit numbers, and wraps. What is stored is found by these numbers: another release has to
make the same.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.uint64]

HASHES = 128
"""How many hash functions there are."""
_STEP = 256
"""Shingles whose hashes are in memory at once: 256 KB, which stay near the processor."""
_MOST = np.iinfo(np.uint64).max
_BASE = np.array(0x9E3779B97F4A7C15, dtype=np.uint64)
_INVERSE_BASE = pow(int(_BASE), -1, 2**64)
_SHIFTS = tuple(np.array(each, dtype=np.uint64) for each in (30, 27, 31))
_FACTORS = tuple(np.array(each, dtype=np.uint64) for each in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
"""Of `mixed`; as arrays, since of a short text an operation takes half as long again with a number."""
_TABLED = 0x20000
"""Characters from here on are ideographs, but for a few."""
_SPACE, _LETTER, _WORD = 0, 1, 2
_WORDS_BY_THEMSELVES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # Kana
    (0x3400, 0x9FFF),  # Han
    (0xF900, 0xFAFF),
)
"""Of scripts without spaces between words, each character counts as one."""


@dataclass(frozen=True, slots=True, eq=False)
class Sketches:
    """What some texts are compared by, in their order."""

    shingles: Sequence[Numbers]
    """The different runs of words of each text, smallest first."""
    minima: Numbers
    """A row for each text: the smallest value of each hash function; the greatest number where a text has no words."""


def sketches(texts: Sequence[str], *, run: int) -> Sketches:
    """Return what texts are compared by, of runs of so many words; of a text of fewer words all are one run.

    Many short texts together take half of the time of one by one.
    """
    shingles = _shingles(texts, run)
    return Sketches(shingles, _minima(shingles))


def _shingles(texts: Sequence[str], run: int) -> list[Numbers]:
    """Return the different shingles of each text, smallest first; a text of fewer words than a run is one shingle."""
    words, begins = _words(texts)
    runs = _runs(words, run)
    found = []
    for begin, end in pairwise(begins.tolist()):
        if end - begin < run:
            of_text = _runs(words[begin:end], end - begin) if end > begin else words[:0]
        else:
            of_text = runs[begin : end - run + 1]
        found.append(_distinct(of_text))
    return found


def _runs(words: Numbers, length: int) -> Numbers:
    """Return a number for each run of so many words, those that lead from one text into the next among them."""
    count = max(0, len(words) - length + 1)
    runs = words[length - 1 : length - 1 + count].copy()
    for offset in range(length - 2, -1, -1):  # by Horner's rule
        runs *= _BASE
        runs += words[offset : offset + count]
    return mixed(runs)


def _distinct(numbers: Numbers) -> Numbers:
    ordered = numbers.copy()
    ordered.sort()
    new = ordered[1:] != ordered[:-1]
    return ordered if new.all() else ordered[np.concatenate(([True], new))]


def _words(texts: Sequence[str]) -> tuple[Numbers, NDArray[np.int64]]:
    """Return a number for each word, and where those of each text begin, with the end of the last.

    It is a polynomial of the word's characters, by differences of one running sum. A space divides the texts.
    """
    encoded = [f"{text.casefold()} ".encode("utf-32-le", "replace") for text in texts]
    text_starts = [0, *accumulate(len(each) // 4 for each in encoded)]
    points = np.frombuffer(b"".join(encoded), dtype="<u4")
    kinds = _kinds().take(points, mode="clip")
    inside = kinds > _SPACE
    begins = np.ones(len(points) + 1, dtype=np.bool_)
    begins[:-1][:1] = inside[:1]
    # A character by itself begins a word, and a letter where none is before it.
    np.greater(kinds[1:], (kinds[:-1] == _LETTER).view(np.uint8), out=begins[1:-1])
    bounds = begins.nonzero()[0]  # where each word begins, and the end
    sums = np.zeros(len(points) + 1, dtype=np.uint64)
    np.add.accumulate((points * inside) * powers_of(len(points)), out=sums[1:])
    # What is between the end of a word and the start of the next one adds nothing.
    at_bounds, starts = sums.take(bounds), bounds[:-1]
    words = mixed((at_bounds[1:] - at_bounds[:-1]) * _inverse_powers(len(points) + 1).take(starts))
    return words, starts.searchsorted(text_starts)


def _minima(shingles: Sequence[Numbers]) -> Numbers:
    """Return the minima of each text, by 128 hash functions (multiply and add)."""
    factors, terms = _functions()
    minima = np.empty((len(shingles), HASHES), dtype=np.uint64)
    for number, of_text in enumerate(shingles):
        smallest = minima[number]
        smallest.fill(_MOST)
        for start in range(0, len(of_text), _STEP):
            hashes = factors * of_text[start : start + _STEP]
            hashes += terms
            np.minimum(smallest, np.minimum.reduce(hashes, axis=1), out=smallest)
    return minima


def mixed(numbers: Numbers) -> Numbers:
    """Return the numbers with all their bits mixed (the finalizer of splitmix64; Steele et al., 2014)."""
    shifted = numbers >> _SHIFTS[0]
    result = numbers ^ shifted
    for factor, shift in zip(_FACTORS, _SHIFTS[1:], strict=True):
        result *= factor
        np.right_shift(result, shift, out=shifted)
        result ^= shifted
    return result


@cache
def _functions() -> tuple[Numbers, Numbers]:
    """Return the odd factors and the terms of the hash functions, a row for each of these."""
    numbers = mixed(np.arange(1, 2 * HASHES + 1, dtype=np.uint64) * _BASE)[:, None]
    return numbers[::2] | np.uint64(1), numbers[1::2].copy()


@cache
def _kinds() -> NDArray[np.uint8]:
    """Return what each character is for words: none, a part of one, or one by itself; the last is of all others."""
    letters = [unicodedata.category(chr(point))[0] in "LMN" for point in range(_TABLED)]
    kinds = np.array([*letters, True], dtype=np.uint8)
    for first, last in _WORDS_BY_THEMSELVES:
        kinds[first : last + 1] *= _WORD
    kinds[_TABLED] = _WORD
    return kinds


def powers_of(count: int) -> Numbers:
    """Return the powers that make one number of so many in a row."""
    return _all_powers(_rounded(count), int(_BASE))[:count]


def _inverse_powers(count: int) -> Numbers:
    return _all_powers(_rounded(count), _INVERSE_BASE)[:count]


def _rounded(count: int) -> int:
    """Return a power of two: so few sizes are computed, once each."""
    return max(4096, 1 << (count - 1).bit_length())


@cache
def _all_powers(count: int, base: int) -> Numbers:
    factors = np.full(count, base, dtype=np.uint64)
    factors[0] = 1
    return np.cumprod(factors, dtype=np.uint64)
