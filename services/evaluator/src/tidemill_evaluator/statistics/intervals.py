"""Confidence intervals of a mean with finite-sample coverage."""

import asyncio
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from tidemill_evaluator.evaluations.domain.comparison import Interval

ALIKE = 1e-12
"""Tolerance below which differences are equal."""
_HALVINGS = 40
"""Bisection steps: a precision of 2 ** -39 of the range."""
MAX_QUESTIONS = 1_000_000
"""Questions beyond which none are counted."""
_STAKES = tuple(2 ** (-number / 2) for number in range(8))
"""Fixed stakes (fractions of the capital): high ones suit few cases, low ones many."""
_WEIGHTS = tuple(0.7**number for number in range(8))


class BettingIntervals:
    """Implements `ports.Intervals`.

    Bounded differences: betting-based intervals (Waudby-Smith and Ramdas, Estimating means of bounded random variables
    by betting, 2024), with the capital spread over fixed stakes (Orabona and Jun, Tight concentrations and confidence
    sequences from the regret of universal portfolio, 2024). If the mean were at most m, the capital would be a
    supermartingale, so it reaches 1 / alpha with probability alpha at most (Ville): for every distribution, with ties
    and skew, from the first case on.

    Unbounded differences (lengths): Student's t, without such a guarantee (Bahadur and Savage, The nonexistence of
    certain statistical procedures in nonparametric problems, 1956).
    """

    async def of_mean(self, differences: Sequence[float], *, confidence: float, bounded: bool) -> Interval:
        """See `Intervals.of_mean`."""
        alpha = (1 - confidence) / 2
        return await asyncio.to_thread(_betting if bounded else _student, sorted(differences), alpha)

    async def p_value(self, differences: Sequence[float]) -> float:
        """See `Intervals.p_value`."""
        return await asyncio.to_thread(_p_value, sorted(differences))

    async def needed(self, differences: Sequence[float], *, above: float, confidence: float) -> int:
        """See `Intervals.needed`."""
        return await asyncio.to_thread(_needed, sorted(differences), above, (1 - confidence) / 2)


def _betting(differences: Sequence[float], alpha: float) -> Interval:
    return Interval(low=_low(differences, alpha), high=-_low([-each for each in differences], alpha))


def _low(differences: Sequence[float], alpha: float) -> float:
    """Return the greatest mean in [-1, 1] that is rejected."""
    low, high = 0.0, 1.0
    capital = _capital(differences)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if capital(middle, 1.0) >= -math.log(alpha) else (low, middle)
    return 2 * low - 1


def _p_value(differences: Sequence[float]) -> float:
    """Return 1 / capital of the side that made more, twice (Vovk and Wang, E-values: calibration, 2021)."""
    capital = max(_capital(each)(0.5, 1.0) for each in (differences, [-each for each in differences]))
    return min(1.0, 2 * math.exp(-capital))


def _needed(differences: Sequence[float], above: float, alpha: float) -> int:
    """Return how many questions like these reject this mean, at least as many; 0 if MAX_QUESTIONS do not."""
    mean, count = (above + 1) / 2, len(differences)
    capital = _capital(differences)
    if mean <= 0 or capital(mean, 1.0) >= -math.log(alpha):
        return count
    low, high = count, 2 * count
    while capital(mean, high / count) < -math.log(alpha):
        if high > MAX_QUESTIONS:
            return 0
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if capital(mean, middle / count) >= -math.log(alpha) else (middle, high)
    return high


def _capital(differences: Sequence[float]) -> Callable[[float, float], float]:
    """Return the logarithm of the capital by the mean that is bet against, and how often the differences come."""
    np, _ = statistics()
    values, counts = np.unique(np.asarray(differences), return_counts=True)
    weights = log_weights()

    def capital(mean: float, times: float) -> float:
        gains = (log_gains(values, mean) * counts).sum(axis=1)
        return float(np.logaddexp.reduce(gains * times + weights))

    return capital


def log_gains(differences: Any, mean: float) -> Any:  # noqa: ANN401 - numpy's arrays
    """Return the logarithm of what each stake (row) makes of a capital for each difference in [-1, 1] (column).

    What is bet against is a mean of at most `mean` in (0, 1], of differences moved to [0, 1]; -inf where all is lost.
    """
    np, _ = statistics()
    stakes = np.asarray(_STAKES)[:, None]
    with np.errstate(divide="ignore"):  # log(0) of a lost capital
        return np.log(1 - stakes + stakes * (np.asarray(differences) + 1) / 2 / mean)


def log_weights() -> Any:  # noqa: ANN401 - ditto
    """Return the logarithms of the shares of the capital that the stakes have."""
    np, _ = statistics()
    return np.log(np.asarray(_WEIGHTS) / sum(_WEIGHTS))


def _student(differences: Sequence[float], alpha: float) -> Interval:
    mean = math.fsum(differences) / len(differences)
    if len(differences) == 1 or differences[-1] - differences[0] <= ALIKE:
        return Interval(low=mean, high=mean)
    np, stats = statistics()
    error = float(np.std(differences, ddof=1)) / math.sqrt(len(differences))
    half = float(stats.t.ppf(1 - alpha, len(differences) - 1)) * error
    return Interval(low=mean - half, high=mean + half)


@cache
def statistics() -> tuple[Any, Any]:
    """Import numpy and scipy.stats on first use: 80 MB that an idle service does not need."""
    import numpy as np  # noqa: PLC0415
    from scipy import stats  # noqa: PLC0415

    return np, stats
