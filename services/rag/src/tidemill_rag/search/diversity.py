"""Maximal marginal relevance: passages that add something to the better ones."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from tidemill_rag.search.fusion import RANK_OFFSET
from tidemill_rag.vectors.ports import Match

CANDIDATES: Final = 4
"""Passages that are compared for each one that is returned."""


def diverse(matches: Sequence[Match], *, diversity: float, count: int) -> list[Match]:
    """Return the best matches, each chosen by its rank and by how unlike it is to those before (MMR).

    Carbonell and Goldstein, 1998. `matches` are in order and bring their vectors. With a `diversity` of 0 the order
    stays; with 1 only the first is chosen by its rank.
    """
    if not diversity:
        return list(matches[:count])
    vectors = np.array([match.vector for match in matches], dtype=np.float32)
    relevance = RANK_OFFSET / (np.arange(len(matches)) + RANK_OFFSET)
    similarity = np.zeros(len(matches))
    chosen: list[int] = []
    while len(chosen) < min(count, len(matches)):
        gains = (1 - diversity) * relevance - diversity * similarity
        gains[chosen] = -np.inf
        best = int(gains.argmax())
        chosen.append(best)
        similarity = np.maximum(similarity, vectors @ vectors[best])
    return [matches[position] for position in chosen]
