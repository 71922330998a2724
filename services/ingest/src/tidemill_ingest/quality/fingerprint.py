"""What finds texts that are nearly the same: a bounded sketch of a text's runs of words, and the bands to find it by.

A run of five words (a shingle) is one number. The sketch holds the smallest numbers of a text (Broder, On the
Resemblance and Containment of Documents, 1997): all of them where there are few, and then the similarity is exact. The
bands are made of the minima of 128 hash functions (MinHash with locality-sensitive hashing; Leskovec et al., Mining of
Massive Datasets, 2020, chapter 3): texts of similarity .8 share one of 16 bands of 8 with a probability of .95, of .85
with .994. Pure: no number differs between processes, machines or releases.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

BANDS = 16
MAX_SHINGLES = 1024
"""Of a sketch: the similarity of longer texts is an estimate with a standard error of at most .016."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What is kept of a text to compare it with others."""

    text_digest: str
    """Equal exactly where the texts are."""
    bands: tuple[str, ...]
    """Of two similar texts at least one is equal; none for a text without words."""
    shingles: bytes
    """The sketch: the smallest shingles in order, 8 bytes each."""
    shingle_count: int
    """How many different ones the text has."""

    @property
    def keys(self) -> tuple[str, ...]:
        """What others are found by: the bands, and the digest, which finds the same text whatever bands are made of."""
        return (*self.bands, f"text-{self.text_digest}")


def similarity(one: Fingerprint, other: Fingerprint) -> float:
    """Return the share of shingles that two texts have in common, of those that either has (Jaccard)."""
    if one.text_digest == other.text_digest:
        return 1.0
    both = np.concatenate([np.frombuffer(each.shingles, dtype="<u8") for each in (one, other)])
    both.sort()
    twice = both[1:] == both[:-1]
    shared = int(np.count_nonzero(twice))
    if max(one.shingle_count, other.shingle_count) <= MAX_SHINGLES or not shared:
        return shared / max(1, one.shingle_count + other.shingle_count - shared)
    smallest = np.delete(both, np.flatnonzero(twice))[:MAX_SHINGLES]
    return int(np.searchsorted(both[:-1][twice], smallest[-1], side="right")) / len(smallest)


def digest_of_text(text: str) -> str:
    """Return what is equal for equal texts only."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
