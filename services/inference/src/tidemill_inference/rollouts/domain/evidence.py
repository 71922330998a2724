"""Sequential tests by betting: evidence against a hypothesis that is valid at any time.

A bet against a true hypothesis gains nothing in expectation, so its capital ever reaches 1 / alpha with probability at
most alpha (Ville's inequality). So the test may be evaluated after every outcome and stopped at any of them.
Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting (2024). The capital is divided among
fixed stakes, as in Orabona and Jun, Tight concentrations and confidence sequences from the regret of universal
portfolio (2024), so that the order of the outcomes does not matter.

All capitals are logarithms; values are between 0 and 1, each with its count. A value of a weight below 1 is bet on with
that share of the stake: what is tested then is the weighted mean, as a bet of w (v / m - 1) has no gain to expect where
E[w v] / E[w] is m.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

Counted = Mapping[float, int]
Weighted = Mapping[float, Counted]
"""Values with their counts by weight."""

_STAKES = (0.9, 0.6, 0.4, 0.25, 0.15, 0.08, 0.0)
_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 1.0, 0.7, 0.5)
_LOG_WEIGHTS = tuple(math.log(weight / math.fsum(_WEIGHTS)) for weight in _WEIGHTS)
_MEANS = 50
"""Among so many means that of both sides is searched for; between two, the weaker evidence of either counts."""
_MOMENTS = 50
"""The same of times."""
_RATIO_STEP, _RATIO_STEPS = 1.05, 100
"""Ratios of times are compared at so many powers of it, up and down: 0.0076 to 131."""
QUANTILES = (0.5, 0.75, 0.95)
"""Where times are compared: a side that is slower altogether shows it at the median first."""


def above(values: Counted, mean: float) -> float:
    """Return what was made of betting that the true mean is above this one."""
    return _above({1.0: values}, mean)


def less(values: Weighted, than: Weighted, *, by: float) -> float:
    """Return what was made of betting that a weighted mean is less than another's by more than this.

    Were it not, there would be a mean that both hypotheses agree on, one of each side, and the product of what is made
    against both would not grow: so the least product over all means counts. The greatest weight that was seen is 1. For
    any that it could turn out to be, the bets are valid, so that what was made is divided by how many weights were
    seen: with K different ones, an error of alpha is one of alpha (1 + 1/2 + ... + 1/K) at most.
    """
    weights = {*values, *than}
    maximum = max(weights, default=1.0)
    mirrored, theirs = _mirrored(_scaled(values, maximum)), _scaled(than, maximum)
    span = 1.0 - by
    means = [span * number / _MEANS for number in range(_MEANS + 1)]
    lower = [_above(mirrored, 1.0 - mean) for mean in means]
    higher = [_above(theirs, mean + by) for mean in means[1:]]
    least = min(*(low + high for low, high in zip(lower, higher, strict=False)), lower[-1])
    return least - math.log(max(1, len(weights)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What the difference of two means is within, candidate less baseline."""

    low: float
    high: float


def difference(values: Weighted, than: Weighted, *, error: float) -> Bounds:
    """Return bounds of the difference of two weighted means, values less the others.

    They are a confidence sequence: however often they are computed, the difference is ever outside with a probability
    of `error` at most, for weights as in `less`, of which each bound is the inverse. They are on steps of 1 / _MEANS.
    """
    return _difference(_items(values), _items(than), error)


_Items = tuple[tuple[float, tuple[tuple[float, int], ...]], ...]


def _items(values: Weighted) -> _Items:
    return tuple(sorted((weight, tuple(sorted(counted.items()))) for weight, counted in values.items()))


@lru_cache(maxsize=256)
def _difference(ours_counted: _Items, theirs_counted: _Items, error: float) -> Bounds:
    """Return it; the values of most metrics are the same after most answers."""
    values, than = ({weight: dict(items) for weight, items in side} for side in (ours_counted, theirs_counted))
    weights = {*values, *than}
    maximum = max(weights, default=1.0)
    convincing = math.log(2 * max(1, len(weights)) / error)
    ours, theirs = _scaled(values, maximum), _scaled(than, maximum)
    return Bounds(low=-_highest(theirs, ours, convincing), high=_highest(ours, theirs, convincing))


def _highest(values: Weighted, than: Weighted, convincing: float) -> float:
    """Return the least difference that it is shown not to reach; 1 where none is."""
    means, mirrored = [number / _MEANS for number in range(_MEANS + 1)], _mirrored(values)
    lower = [_above(mirrored, 1.0 - mean) for mean in means]
    higher = [_above(than, mean) for mean in means]
    for steps in range(1 - _MEANS, _MEANS):  # were it reached, they would have means so many steps apart
        first, last = max(0, -steps), _MEANS - max(0, steps)
        if all(lower[mean + steps] + higher[mean + 1] >= convincing for mean in range(first, last)):
            return steps / _MEANS
    return 1.0


def _above(values: Weighted, mean: float) -> float:
    return _log_sum(
        weight + math.fsum(_log_capital(stake * share, counted, mean) for share, counted in values.items())
        for stake, weight in zip(_STAKES, _LOG_WEIGHTS, strict=True)
    )


def _mirrored(values: Weighted) -> Weighted:
    """Return the values by which it shows that a mean is low."""
    return {share: {1.0 - value: count for value, count in counted.items()} for share, counted in values.items()}


def _scaled(values: Weighted, maximum: float) -> Weighted:
    return {weight / maximum: counted for weight, counted in values.items()}


def slower(times: Sequence[float], than: Sequence[float], *, by: float) -> float:
    """Return what was made of betting that times are longer than the others by more than this factor.

    What is supposed is that no quantile among QUANTILES is: the capital is shared out among them. Each is compared as
    means are, over every time that it could be.
    """
    if not times or not than:
        return -math.inf
    ours, theirs = sorted(time / by for time in times), sorted(than)
    moments = _some(sorted({*ours, *theirs}))
    return _log_sum(_slower_at(quantile, ours, theirs, moments) for quantile in QUANTILES) - math.log(len(QUANTILES))


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioBounds:
    """What the ratio of two median times is within, the candidate's to the baseline's; without a bound 0 and None."""

    low: float
    high: float | None


def median_ratio(times: Sequence[float], than: Sequence[float], *, error: float) -> RatioBounds | None:
    """Return bounds of the ratio of medians, a confidence sequence as `difference` is; None where a side has no time.

    Each bound is the greatest power of _RATIO_STEP by which one side is shown to be slower.
    """
    if not times or not than:
        return None
    convincing = math.log(2 / error)
    low, faster = _shown_factor(times, than, convincing), _shown_factor(than, times, convincing)
    return RatioBounds(low=low, high=1 / faster if faster else None)


def _shown_factor(times: Sequence[float], than: Sequence[float], convincing: float) -> float:
    """Return the greatest factor by which the median is shown to be above the others'; 0 where none is."""
    theirs = sorted(than)

    def shown(steps: int) -> bool:
        ours = sorted(time / _RATIO_STEP**steps for time in times)
        return _slower_at(0.5, ours, theirs, _some(sorted({*ours, *theirs}))) >= convincing

    if not shown(-_RATIO_STEPS):
        return 0.0
    low, high = -_RATIO_STEPS, _RATIO_STEPS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if shown(middle) else (low, middle)
    return float(_RATIO_STEP**low)


def _slower_at(quantile: float, ours: Sequence[float], theirs: Sequence[float], moments: Sequence[float]) -> float:
    """Return the least over every moment that the others' quantile could be: at the given ones, and between them."""
    at = [(len(ours) - bisect_right(ours, each), bisect_left(theirs, each)) for each in moments]
    between = [
        (len(ours) - bisect_left(ours, later), bisect_right(theirs, earlier))
        for earlier, later in pairwise([-math.inf, *moments, math.inf])
    ]
    return min(
        _above_share(longer, len(ours) - longer, 1.0 - quantile)
        + _above_share(shorter, len(theirs) - shorter, quantile)
        for longer, shorter in {*at, *between}
    )


@lru_cache(maxsize=10_000)
def _above_share(ones: int, zeros: int, mean: float) -> float:
    """Return it of ones and zeros; one outcome more changes few of the shares that are compared."""
    return above({1.0: ones, 0.0: zeros}, mean)


def _some(moments: Sequence[float]) -> Sequence[float]:
    """Return so many of them at most, evenly spread."""
    step = max(1, math.ceil(len(moments) / _MOMENTS))
    return moments[::step]


def _log_capital(stake: float, counted: Counted, mean: float) -> float:
    """Return what becomes of a capital of 1; no stake is all of it, so that none loses it."""
    if mean <= 0.0:
        return math.inf if stake > 0.0 and any(value > 0.0 < count for value, count in counted.items()) else 0.0
    kept, gain, log = 1.0 - stake, stake / mean, math.log
    return math.fsum([count * log(kept + gain * value) for value, count in counted.items() if count])


def _log_sum(logs: Iterable[float]) -> float:
    found = list(logs)
    maximum = max(found)
    if math.isinf(maximum):
        return maximum
    return maximum + math.log(math.fsum(math.exp(each - maximum) for each in found))
