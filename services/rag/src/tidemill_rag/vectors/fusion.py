"""How the rankings of vectors and of terms are fused: the same settings for both Qdrant adapters."""

from collections.abc import Sequence
from operator import mul
from typing import Final

SPARSE: Final = "terms"
"""The name of the sparse vector; the dense one has none."""
DENSE: Final = ""
RRF_K: Final = 2
"""Ranks from which weights decline. Measured by `python -m tests.bench.retrieval`."""
_MIN_CANDIDATES = 50


def candidates(limit: int) -> int:
    """Return how many points of each ranking are fused: a point that is far down in one may be the first in both."""
    return max(limit, _MIN_CANDIDATES)


def cosine(query: Sequence[float], stored: Sequence[float]) -> float:
    """Return the cosine of two vectors of length 1."""
    return float(sum(map(mul, query, stored)))
