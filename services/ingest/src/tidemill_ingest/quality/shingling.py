"""Make the fingerprint of a text: with numpy, so that no word and no run of words becomes an object of Python.

All arithmetic is of unsigned 64-bit numbers, and wraps.
"""

import unicodedata
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tidemill_ingest.quality.fingerprint import BANDS, MAX_SHINGLES, Fingerprint, digest_of_text

_Numbers = NDArray[np.uint64]

_RUN = 5
"""Words of a shingle."""
_ROWS = 8
"""Minima of a band."""
_STEP = 256
"""Shingles whose hashes are in memory at once: 256 KB, which stay near the processor."""
_DIGITS = 16
_PLACES = [(f"{number:02}-", number * _DIGITS) for number in range(BANDS)]
"""What the key of a band begins with, and where its digits do."""
_BASE = np.uint64(0x9E3779B97F4A7C15)
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


def fingerprint(text: str, *, within: int) -> Fingerprint:
    """Return the fingerprint of a text; its shingles are those of so many characters from its start."""
    return fingerprints([text], within=within)[0]


def fingerprints(texts: Sequence[str], *, within: int) -> list[Fingerprint]:
    """Return the fingerprint of each text; many short ones together take a third of the time of one by one."""
    shingles = _shingles([text[:within] for text in texts])
    bands = _bands(shingles)
    return [
        Fingerprint(
            text_digest=digest_of_text(text),
            bands=keys if len(numbers) else (),
            shingles=numbers[:MAX_SHINGLES].astype("<u8").tobytes(),
            shingle_count=len(numbers),
        )
        for text, numbers, keys in zip(texts, shingles, bands, strict=True)
    ]


def _shingles(texts: Sequence[str]) -> list[_Numbers]:
    """Return the different shingles of each text, smallest first; a text of fewer words than a run is one shingle."""
    words, begins = _words(texts)
    runs = _runs(words, _RUN)
    found = []
    for begin, end in pairwise(begins.tolist()):
        if end - begin < _RUN:
            of_text = _runs(words[begin:end], end - begin) if end > begin else words[:0]
        else:
            of_text = runs[begin : end - _RUN + 1]
        found.append(_distinct(of_text))
    return found


def _runs(words: _Numbers, length: int) -> _Numbers:
    """Return a number for each run of so many words, those that lead from one text into the next among them."""
    powers = _powers(length)
    count = max(0, len(words) - length + 1)
    runs = words[:count] * powers[0]
    for offset in range(1, length):
        runs += words[offset : offset + count] * powers[offset]
    return _mixed(runs)


def _distinct(numbers: _Numbers) -> _Numbers:
    ordered = np.sort(numbers)
    new = ordered[1:] != ordered[:-1]
    return ordered if new.all() else ordered[np.concatenate(([True], new))]


def _words(texts: Sequence[str]) -> tuple[_Numbers, NDArray[np.int64]]:
    """Return a number for each word, and where those of each text begin, with the end of the last.

    It is a polynomial of the word's characters, by differences of one running sum. A space divides the texts.
    """
    encoded = [f"{text.casefold()} ".encode("utf-32-le", "replace") for text in texts]
    text_starts = np.cumsum([0, *map(len, encoded)]) // 4
    points = np.frombuffer(b"".join(encoded), dtype="<u4")
    kinds = _kinds()[np.minimum(points, _TABLED)]
    inside = kinds != _SPACE
    begins = inside.copy()
    begins[1:] &= (kinds[:-1] != _LETTER) | (kinds[1:] == _WORD)
    starts = np.flatnonzero(begins)
    powers = _powers(len(points) + 1)
    sums = np.zeros(len(points) + 1, dtype=np.uint64)
    np.cumsum((points * inside) * powers[:-1], out=sums[1:])
    # What is between the end of a word and the start of the next one adds nothing.
    ends = np.append(starts[1:], len(points))
    words = _mixed((sums[ends] - sums[starts]) * _inverse_powers(len(points) + 1)[starts])
    return words, np.searchsorted(starts, text_starts)


def _bands(shingles: Sequence[_Numbers]) -> list[tuple[str, ...]]:
    """Return the keys of each text's bands, by 128 hash functions (multiply and add).

    What is stored is found by them: another release has to make the same ones.
    """
    factors, terms = _functions()
    minima = np.empty((len(shingles), BANDS * _ROWS), dtype=np.uint64)
    for number, of_text in enumerate(shingles):
        column = of_text[:, None]
        smallest = np.full(BANDS * _ROWS, np.iinfo(np.uint64).max, dtype=np.uint64)
        for start in range(0, len(column), _STEP):
            hashes = column[start : start + _STEP] * factors
            hashes += terms
            np.minimum(smallest, hashes.min(axis=0), out=smallest)
        minima[number] = smallest
    rows = _mixed(minima).reshape(-1, BANDS, _ROWS)
    bands = _mixed((rows * _powers(_ROWS)).sum(axis=2, dtype=np.uint64))
    return [_keys(each) for each in bands]


def _keys(bands: _Numbers) -> tuple[str, ...]:
    digits = bands.astype(">u8").tobytes().hex()
    return tuple([f"{prefix}{digits[begin : begin + _DIGITS]}" for prefix, begin in _PLACES])


def _mixed(numbers: _Numbers) -> _Numbers:
    """Return the numbers with all their bits mixed (the finalizer of splitmix64; Steele et al., 2014)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


@cache
def _functions() -> tuple[_Numbers, _Numbers]:
    """Return the odd factors and the terms of the hash functions."""
    numbers = _mixed(np.arange(1, 2 * BANDS * _ROWS + 1, dtype=np.uint64) * _BASE)
    return numbers[::2] | np.uint64(1), numbers[1::2]


@cache
def _kinds() -> NDArray[np.uint8]:
    """Return what each character is for words: none, a part of one, or one by itself; the last is of all others."""
    letters = [unicodedata.category(chr(point))[0] in "LMN" for point in range(_TABLED)]
    kinds = np.array([*letters, True], dtype=np.uint8)
    for first, last in _WORDS_BY_THEMSELVES:
        kinds[first : last + 1] *= _WORD
    kinds[_TABLED] = _WORD
    return kinds


def _powers(count: int) -> _Numbers:
    return _all_powers(_rounded(count), int(_BASE))[:count]


def _inverse_powers(count: int) -> _Numbers:
    return _all_powers(_rounded(count), pow(int(_BASE), -1, 2**64))[:count]


def _rounded(count: int) -> int:
    """Return a power of two: so few sizes are computed, once each."""
    return max(4096, 1 << (count - 1).bit_length())


@cache
def _all_powers(count: int, base: int) -> _Numbers:
    factors = np.full(count, base, dtype=np.uint64)
    factors[0] = 1
    return np.cumprod(factors, dtype=np.uint64)
