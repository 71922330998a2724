"""Make the fingerprint of a text: with numpy, so that no word and no run of words becomes an object of Python.

All arithmetic is of unsigned 64-bit numbers, and wraps.
"""

import unicodedata
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tidemill_ingest.quality.fingerprint import BANDS, MAX_SHINGLES, Fingerprint, digest_of_text

_Numbers = NDArray[np.uint64]

_RUN = 5
"""Words of a shingle."""
_ROWS = 8
"""Minima of a band."""
_STEP = 4096
"""Shingles whose hashes are in memory at once."""
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
    shingles = _shingles(text[:within])
    sketch = shingles[:MAX_SHINGLES]
    return Fingerprint(
        text_digest=digest_of_text(text),
        bands=_bands(shingles) if len(shingles) else (),
        shingles=sketch.astype("<u8").tobytes(),
        shingle_count=len(shingles),
    )


def _shingles(text: str) -> _Numbers:
    """Return the different shingles of a text, smallest first; a text of fewer words than a run is one shingle."""
    words = _words(np.frombuffer(text.casefold().encode("utf-32-le", "replace"), dtype="<u4"))
    if not len(words):
        return words
    run = min(_RUN, len(words))
    powers = _powers(run)
    count = len(words) - run + 1
    runs = words[:count] * powers[0]
    for offset in range(1, run):
        runs = runs + words[offset : offset + count] * powers[offset]
    return np.unique(_mixed(runs))


def _words(points: NDArray[np.uint32]) -> _Numbers:
    """Return a number for each word: a polynomial of its characters, by differences of one running sum."""
    kinds = np.where(points < _TABLED, _kinds()[np.minimum(points, _TABLED - 1)], _WORD)
    inside = kinds != _SPACE
    before = np.concatenate(([_SPACE], kinds[:-1]))
    begins = inside & ((before != _LETTER) | (kinds == _WORD))
    starts = np.flatnonzero(begins)
    if not len(starts):
        return np.empty(0, dtype=np.uint64)
    powers = _powers(len(points) + 1)
    sums = np.zeros(len(points) + 1, dtype=np.uint64)
    np.cumsum(np.where(inside, points, 0).astype(np.uint64) * powers[:-1], out=sums[1:])
    # What is between the end of a word and the start of the next one adds nothing.
    ends = np.append(starts[1:], len(points))
    return _mixed((sums[ends] - sums[starts]) * _inverse_powers(len(points) + 1)[starts])


def _bands(shingles: _Numbers) -> tuple[str, ...]:
    factors, terms = _functions()
    minima = np.full(BANDS * _ROWS, np.iinfo(np.uint64).max, dtype=np.uint64)
    for start in range(0, len(shingles), _STEP):
        hashes = factors[:, None] * shingles[start : start + _STEP][None, :] + terms[:, None]
        minima = np.minimum(minima, hashes.min(axis=1))
    rows = _mixed(minima).reshape(BANDS, _ROWS)
    bands = _mixed((rows * _powers(_ROWS)[None, :]).sum(axis=1, dtype=np.uint64))
    return tuple(f"{number:02}-{band:016x}" for number, band in enumerate(bands.tolist()))


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
    """Return what each character is for words: none of it, a part of one, or one by itself."""
    letters = [unicodedata.category(chr(point))[0] in "LMN" for point in range(_TABLED)]
    kinds = np.array(letters, dtype=np.uint8)
    for first, last in _WORDS_BY_THEMSELVES:
        kinds[first : last + 1] *= _WORD
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
