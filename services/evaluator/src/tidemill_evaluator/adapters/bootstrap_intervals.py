"""Paired bootstrap intervals by scipy."""

import asyncio
import math
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

from tidemill_evaluator.domain.comparison import Interval

_ALIKE = 1e-12
"""Differences that are nearer to each other than this are the same."""
_BATCH = 1000
"""Resamples in memory at the same time."""


class BootstrapIntervals:
    """Implements `ports.Intervals`: BCa intervals (Efron, Better Bootstrap Confidence Intervals, 1987).

    The differences of pairs are resampled, which keeps the two answers to a case together. Where all differences are
    the same, every resample is too, and the interval is that point; where BCa is not defined (its acceleration or bias
    cannot be worked out), the percentile interval of the same resamples takes its place.
    """

    def __init__(self, *, resamples: int) -> None:
        self._resamples = resamples

    async def of_mean(self, differences: Sequence[float], *, confidence: float, seed: int) -> Interval:
        """See `Intervals.of_mean`."""
        mean = math.fsum(differences) / len(differences)
        if max(differences) - min(differences) <= _ALIKE:
            return Interval(low=mean, high=mean)
        return await asyncio.to_thread(self._bootstrap, list(differences), confidence, seed)

    def _bootstrap(self, differences: list[float], confidence: float, seed: int) -> Interval:
        best = self._interval(differences, confidence, seed, method="BCa")
        if math.isfinite(best.low) and math.isfinite(best.high):
            return best
        return self._interval(differences, confidence, seed, method="percentile")

    def _interval(self, differences: list[float], confidence: float, seed: int, *, method: str) -> Interval:
        np, stats = _statistics()
        with np.errstate(divide="ignore", invalid="ignore"):  # what is not defined is told by NaN
            found = stats.bootstrap(
                (np.asarray(differences),),
                np.mean,
                n_resamples=self._resamples,
                batch=_BATCH,
                confidence_level=confidence,
                method=method,
                rng=np.random.default_rng(seed),
            ).confidence_interval
        return Interval(low=float(found.low), high=float(found.high))


@cache
def _statistics() -> tuple[Any, Any]:
    """Return numpy and scipy.stats: 80 MB that a service at rest does not need."""
    import numpy as np  # noqa: PLC0415
    from scipy import stats  # noqa: PLC0415

    warnings.filterwarnings("ignore", category=stats.DegenerateDataWarning)  # ditto, and once for all threads
    return np, stats
