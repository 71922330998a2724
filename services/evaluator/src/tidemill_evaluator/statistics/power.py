"""How probably cases show a gain, by simulation."""

import asyncio
import math
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any

from tidemill_evaluator.evaluations.domain.power import MIN_DIFFERENCES, Bound, Power
from tidemill_evaluator.statistics.intervals import ALIKE, MAX_QUESTIONS, log_gains, log_weights, statistics
from tidemill_kit.workers.fair_queue import FairQueue, Share

ASSUMED_DEVIATION = 0.3
"""Standard deviation of the differences where none are known."""
_DRAWS = 1000
"""Simulated evaluations: a power of 0.8 is off by 0.013 (one standard error)."""
_MAX_VALUES = 100
"""Intervals of equal width into which differences with more values are put: the mean of each, and its share, stand for
all in it, so that mean, spread and rare large differences stay."""
_HALVINGS = 30
_PRECISION = 50
"""The number of questions is precise to one in so many."""
_SEED = 20_240_101


class SimulatedPower:
    """Implements `ports.Powers`.

    Draws evaluations from the known differences, moved so that their mean is the gain (and cut at -1 and 1), and counts
    those whose lower bound is above what is required: the capital of `BettingIntervals` decides, and no approximation
    of it. Draws are the same for all gains, so that more gain never has less power.
    """

    def __init__(self, places: FairQueue) -> None:
        self._places = places

    def place(self, project: str) -> AbstractAsyncContextManager[object]:
        """See `Powers.place`."""
        return self._places.place(Share(project=project))

    async def of(self, differences: Sequence[float], bound: Bound, *, gain: float, power: float) -> Power:
        """See `Powers.of`."""
        return await asyncio.to_thread(_power, differences, bound, gain, power)


def _power(differences: Sequence[float], bound: Bound, gain: float, power: float) -> Power:
    known = _spread(differences)
    found = _Simulation(known, bound)
    return Power(
        of_gain=found.power(gain),
        detectable_gain=_detectable(found, bound.above, power),
        needed=_needed(known, bound, gain=gain, power=power),
        deviation=known.deviation,
        assumed=known.assumed,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spread:
    """How differences vary: their values, and the share of all that each one has."""

    values: Any
    shares: Any
    deviation: float
    """Standard deviation; of those from which it is known, that of a sample."""
    assumed: bool = False

    def moved(self, gain: float) -> Any:  # noqa: ANN401 - numpy's arrays
        """Return the values moved so that the mean is the gain, all within -1 and 1."""
        np, _ = statistics()
        low, high = -2.0, 2.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            mean = np.clip(self.values + middle, -1, 1) @ self.shares
            low, high = (middle, high) if mean < gain else (low, middle)
        return np.clip(self.values + high, -1, 1)


class _Simulation:
    """Evaluations of so many questions each."""

    def __init__(self, known: _Spread, bound: Bound) -> None:
        np, _ = statistics()
        self._known = known
        self._bound = bound
        self._counts = np.random.default_rng(_SEED).multinomial(bound.clusters, known.shares, size=_DRAWS)

    def power(self, gain: float) -> float:
        """Return the share of evaluations that show a gain above what is required."""
        np, _ = statistics()
        mean = (self._bound.above + 1) / 2
        if mean <= 0:
            return 1.0
        gains = np.maximum(log_gains(self._known.moved(gain), mean), -1e3)  # a lost capital stays lost
        capital = np.logaddexp.reduce(self._counts @ gains.T + log_weights(), axis=1)
        return float((capital >= -math.log((1 - self._bound.confidence) / 2)).mean())


def _detectable(found: _Simulation, above: float, power: float) -> float | None:
    low, high = max(above, -1.0), 1.0
    if found.power(high) < power:
        return None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if found.power(middle) >= power else (middle, high)
    return high


def _needed(known: _Spread, bound: Bound, *, gain: float, power: float) -> int:
    """Return how many questions find the gain; 0 where MAX_QUESTIONS do not."""

    def enough(questions: int) -> bool:
        return _Simulation(known, bound.of(questions)).power(gain) >= power

    if gain <= bound.above:
        return 0
    low, high = 0, 1
    while not enough(high):
        if high > MAX_QUESTIONS:
            return 0
        low, high = high, 2 * high
    while high - low > max(1, high // _PRECISION):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _spread(differences: Sequence[float]) -> _Spread:
    """Return how differences vary: as these do, or as assumed where they are few or all alike."""
    np, _ = statistics()
    known = np.asarray(differences, dtype=float)
    if len(known) < MIN_DIFFERENCES or known.max() - known.min() <= ALIKE:
        return _assumed()
    values, counts = _weighted(known)
    count, mean = len(known), known.mean()
    of_sample = math.sqrt(count / (count - 1))  # what few differences show of the spread is too little
    values = mean + (values - mean) * of_sample
    return _Spread(values=values, shares=counts / count, deviation=float(known.std(ddof=1)))


def _weighted(known: Any) -> tuple[Any, Any]:  # noqa: ANN401 - numpy's arrays
    """Return the values and how often each comes; of many values the means of intervals, the ends for themselves."""
    np, _ = statistics()
    values, counts = np.unique(known, return_counts=True)
    if len(values) <= _MAX_VALUES:
        return values, counts
    low, high = values[0], values[-1]
    interval = np.ceil((known - low) / (high - low) * _MAX_VALUES).astype(int)  # the lowest one is in no other's
    interval[known == high] += 1
    counts = np.bincount(interval)
    used = counts > 0
    return np.bincount(interval, weights=known)[used] / counts[used], counts[used]


@cache
def _assumed() -> _Spread:
    np, _ = statistics()
    normal = NormalDist(0, ASSUMED_DEVIATION)
    values = np.clip([normal.inv_cdf((number + 0.5) / _MAX_VALUES) for number in range(_MAX_VALUES)], -1, 1)
    shares = np.full(_MAX_VALUES, 1 / _MAX_VALUES)
    return _Spread(values=values, shares=shares, deviation=ASSUMED_DEVIATION, assumed=True)
