"""Intervals of a mean that hold at every number of cases."""

import asyncio
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

from tidemill_evaluator.domain.comparison import Interval

_ALIKE = 1e-12
"""Differences that are nearer to each other than this are the same."""
_HALVINGS = 40
"""A bound is searched for to 2 ** -39 of the range."""
_STAKES = tuple(2 ** (-number / 2) for number in range(8))
"""Shares of the capital that are bet: few cases ask for high ones, many for low ones."""
_WEIGHTS = tuple(0.7**number for number in range(8))


class BettingIntervals:
    """Implements `ports.Intervals`.

    Bounded differences: what a gambler would have made of them who bets against each mean (Waudby-Smith and Ramdas,
    Estimating means of bounded random variables by betting, 2024; the capital is shared out among fixed stakes, as in
    Orabona and Jun, Tight concentrations and confidence sequences from the regret of universal portfolio, 2024). Were
    the mean no more than m, the capital would not grow in expectation, so it reaches 1 / alpha with a chance of alpha
    at most (Markov): whatever the distribution, with ties and skew, from the first case on.

    Unbounded ones (lengths): Student's t, for which no such promise can be made (Bahadur and Savage, The nonexistence
    of certain statistical procedures in nonparametric problems, 1956).
    """

    async def of_mean(self, differences: Sequence[float], *, confidence: float, bounded: bool) -> Interval:
        """See `Intervals.of_mean`."""
        alpha = (1 - confidence) / 2
        return await asyncio.to_thread(_betting if bounded else _student, sorted(differences), alpha)


def _betting(differences: Sequence[float], alpha: float) -> Interval:
    return Interval(low=_low(differences, alpha), high=-_low([-each for each in differences], alpha))


def _low(differences: Sequence[float], alpha: float) -> float:
    """Return the greatest mean from -1 to 1 that the capital refutes."""
    np, _ = _statistics()
    values, counts = np.unique((np.asarray(differences) + 1) / 2, return_counts=True)
    stakes, weights = np.asarray(_STAKES)[:, None], np.log(np.asarray(_WEIGHTS) / sum(_WEIGHTS))

    def refuted(mean: float) -> bool:
        with np.errstate(divide="ignore"):  # all was lost: a logarithm of 0
            capital = (np.log(1 - stakes + stakes * values / mean) * counts).sum(axis=1) + weights
        return bool(np.logaddexp.reduce(capital) >= -math.log(alpha))

    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return 2 * low - 1


def _student(differences: Sequence[float], alpha: float) -> Interval:
    mean = math.fsum(differences) / len(differences)
    if len(differences) == 1 or differences[-1] - differences[0] <= _ALIKE:
        return Interval(low=mean, high=mean)
    np, stats = _statistics()
    error = float(np.std(differences, ddof=1)) / math.sqrt(len(differences))
    half = float(stats.t.ppf(1 - alpha, len(differences) - 1)) * error
    return Interval(low=mean - half, high=mean + half)


@cache
def _statistics() -> tuple[Any, Any]:
    """Return numpy and scipy.stats: 80 MB that a service at rest does not need."""
    import numpy as np  # noqa: PLC0415
    from scipy import stats  # noqa: PLC0415

    return np, stats
