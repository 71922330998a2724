"""Whether topics have other shares in one period than in another."""

from collections.abc import Sequence
from math import sqrt

from tidemill_rag.topics.domain import TopicShift

_MIN_EXPECTED = 5
"""Topics of which fewer documents are expected in a period are taken together (Cochran, 1954)."""


def shift_of(counts: Sequence[tuple[int, int]], *, significance: float) -> TopicShift | None:
    """Return the chi-square test of documents by topic in two periods; None where one has none. Loads SciPy."""
    from scipy.special import chdtrc  # noqa: PLC0415 - half a second that only comparisons need

    sizes = sum(one for one, _ in counts), sum(other for _, other in counts)
    if not all(sizes):
        return None
    pooled = _pooled(counts, sizes)
    statistic = 0.0
    for pair in pooled:
        for seen, size in zip(pair, sizes, strict=True):
            expected = sum(pair) * size / sum(sizes)
            statistic += (seen - expected) ** 2 / expected
    p_value = float(chdtrc(len(pooled) - 1, statistic)) if len(pooled) > 1 else 1.0
    return TopicShift(effect=min(1.0, sqrt(statistic / sum(sizes))), p_value=p_value, shifted=p_value < significance)


def _pooled(counts: Sequence[tuple[int, int]], sizes: tuple[int, int]) -> list[tuple[int, int]]:
    kept, rest = list[tuple[int, int]](), (0, 0)
    for pair in counts:
        if sum(pair) * min(sizes) / sum(sizes) < _MIN_EXPECTED:
            rest = rest[0] + pair[0], rest[1] + pair[1]
        else:
            kept.append(pair)
    return [*kept, rest] if sum(rest) else kept
