"""Whether two sets of versions are distributed differently: a test for each column, corrected for their number."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import sqrt

from tidemill_core.multiplicity import holm
from tidemill_ingest.profiles.domain.profile import OF_SOURCES, Columns
from tidemill_ingest.profiles.domain.sketch import Distribution, Sketch

SIGNIFICANCE = 0.05
_MIN_EXPECTED = 5
"""Categories of which fewer are expected on a side are taken together (Cochran, 1954)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnShift:
    """One column on both sides. `effect` is the largest distance of the distributions, or Cramer's V: 0 to 1."""

    column: str
    test: str
    effect: float
    p_value: float
    adjusted_p_value: float = 1.0
    shifted: bool = False


def shifts(
    one: Sketch, other: Sketch, *, significance: float = SIGNIFICANCE, columns: Columns = OF_SOURCES
) -> tuple[ColumnShift, ...]:
    """Return a test of each column that both sides have."""
    tested = [
        *(
            _kolmogorov_smirnov(name, one.numbers[name], other.numbers[name])
            for name in columns.numbers
            if name in one.numbers and name in other.numbers
        ),
        *(
            _chi_square(name, one.counts(name), other.counts(name))
            for name in columns.exclusive
            if one.count and other.count
        ),
    ]
    adjusted = holm([each.p_value for each in tested])
    return tuple(
        replace(each, adjusted_p_value=p_value, shifted=p_value < significance)
        for each, p_value in zip(tested, adjusted, strict=True)
    )


def _kolmogorov_smirnov(name: str, one: Distribution, other: Distribution) -> ColumnShift:
    """Compare the distributions at the quantiles of both, less what their sketches may be wrong by."""
    from scipy.special import kolmogorov  # noqa: PLC0415 - half a second that only comparisons need

    values = sorted({*one.quantiles(), *other.quantiles()})
    pairs = zip(one.shares_up_to(values), other.shares_up_to(values), strict=True)
    distance = max(abs(first - second) for first, second in pairs)
    certain = max(0.0, distance - one.rank_error - other.rank_error)
    sizes = one.count * other.count / (one.count + other.count)
    p_value = float(kolmogorov(sqrt(sizes) * certain))
    return ColumnShift(column=name, test="kolmogorov_smirnov", effect=distance, p_value=p_value)


def _chi_square(name: str, one: Mapping[str, int], other: Mapping[str, int]) -> ColumnShift:
    from scipy.special import chdtrc  # noqa: PLC0415 - ditto

    sizes = sum(one.values()), sum(other.values())
    statistic, categories = 0.0, 0
    for counts in _pooled(one, other, sizes):
        categories += 1
        for seen, size in zip(counts, sizes, strict=True):
            expected = sum(counts) * size / sum(sizes)
            statistic += (seen - expected) ** 2 / expected
    p_value = float(chdtrc(categories - 1, statistic)) if categories > 1 else 1.0
    effect = min(1.0, sqrt(statistic / sum(sizes)))
    return ColumnShift(column=name, test="chi_square", effect=effect, p_value=p_value)


def _pooled(one: Mapping[str, int], other: Mapping[str, int], sizes: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the counts of both sides by category, those of which few are expected in one."""
    kept, rest = list[tuple[int, int]](), (0, 0)
    for name in sorted({*one, *other}):
        counts = one.get(name, 0), other.get(name, 0)
        if sum(counts) * min(sizes) / sum(sizes) < _MIN_EXPECTED:
            rest = rest[0] + counts[0], rest[1] + counts[1]
        else:
            kept.append(counts)
    return [*kept, rest] if sum(rest) else kept
