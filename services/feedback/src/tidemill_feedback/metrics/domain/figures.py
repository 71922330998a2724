"""What the values of a metric say of each variant that answered: a weighted mean with its interval, and sums."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tidemill_core.intervals import Z_95, share_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One value that counts; `value` is None for a category."""

    variant: str
    rollout: str
    value: float | None
    category: str = ""
    weight: float = 1.0
    business_value: float = 0.0
    absent: bool = False
    immature: bool = False
    """Whether its answer may still get another one: it is counted, and in nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantFigures:
    """The figures of one variant in one rollout, or outside of any."""

    variant: str
    rollout: str
    count: int
    """Values that have matured, or have no need to."""
    immature: int
    absent: int
    """Those of `count` that were not given: they are what no value means."""
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    business_value: float = 0.0
    choices: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricFigures:
    """The figures of a metric for one deployment; `truncated` where only its newest values were read."""

    figures: Sequence[VariantFigures]
    unit: str = ""
    truncated: bool = False


def figures_of(observed: Iterable[Observed], *, is_share: bool) -> Sequence[VariantFigures]:
    """Return the figures by variant and rollout, sorted; `is_share` where values are 0 or 1."""
    groups: dict[tuple[str, str], list[Observed]] = {}
    for each in observed:
        groups.setdefault((each.variant, each.rollout), []).append(each)
    return [_figures(*of, values, is_share=is_share) for of, values in sorted(groups.items())]


def _figures(variant: str, rollout: str, values: Sequence[Observed], *, is_share: bool) -> VariantFigures:
    mature = [each for each in values if not each.immature]
    weighted = [(each.value, each.weight) for each in mature if each.value is not None and each.weight > 0]
    mean, low, high = _interval(weighted, is_share=is_share) if weighted else (None, None, None)
    return VariantFigures(
        variant=variant,
        rollout=rollout,
        count=len(mature),
        immature=len(values) - len(mature),
        absent=sum(each.absent for each in mature),
        mean=mean,
        low=low,
        high=high,
        business_value=math.fsum(each.business_value for each in mature),
        choices=Counter(each.category for each in mature if each.category),
    )


def _interval(weighted: Sequence[tuple[float, float]], *, is_share: bool) -> tuple[float, float | None, float | None]:
    """Return mean, and the bounds of 95 %: Wilson's for shares, else the normal ones, by Kish's effective number."""
    total = math.fsum(weight for _, weight in weighted)
    mean = math.fsum(value * weight for value, weight in weighted) / total
    number = total**2 / math.fsum(weight**2 for _, weight in weighted)
    if is_share:
        return mean, *share_interval(mean, number)
    if number <= 1:
        return mean, None, None
    variance = math.fsum(weight * (value - mean) ** 2 for value, weight in weighted) / total * number / (number - 1)
    half = Z_95 * math.sqrt(variance / number)
    return mean, mean - half, mean + half
