"""How probably cases show a gain, by simulation."""

import asyncio
import math
from collections.abc import Sequence
from functools import cache
from statistics import NormalDist
from typing import Any

from tidemill_evaluator.evaluations.domain.power import Bound, Power
from tidemill_evaluator.statistics.intervals import MAX_QUESTIONS, log_gains, log_weights, statistics
from tidemill_kit.workers.fair_queue import FairQueue, Share

ASSUMED_DEVIATION = 0.3
"""Standard deviation of the differences where none are known."""
_DRAWS = 1000
"""Simulated evaluations: a power of 0.8 is off by 0.013 (one standard error)."""
_MAX_VALUES = 100
"""Differences that stand for all of a larger number: their quantiles."""
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

    async def of(self, project: str, differences: Sequence[float], bound: Bound, *, gain: float, power: float) -> Power:
        """See `Powers.of`."""
        async with self._places.place(Share(project=project)):
            return await asyncio.to_thread(_power, differences, bound, gain, power)


def _power(differences: Sequence[float], bound: Bound, gain: float, power: float) -> Power:
    known = _representative(differences)
    found = _Simulation(known, bound)
    return Power(
        of_gain=found.power(gain),
        detectable_gain=_detectable(found, bound.above, power),
        needed=_needed(known, bound, gain=gain, power=power),
        deviation=float(statistics()[0].std(known)),
    )


class _Simulation:
    """Evaluations of so many questions each."""

    def __init__(self, known: Any, bound: Bound) -> None:  # noqa: ANN401 - numpy's arrays
        np, _ = statistics()
        self._known = known
        self._bound = bound
        shares = np.full(len(known), 1 / len(known))
        self._counts = np.random.default_rng(_SEED).multinomial(bound.questions, shares, size=_DRAWS)

    def power(self, gain: float) -> float:
        """Return the share of evaluations that show a gain above what is required."""
        np, _ = statistics()
        mean = (self._bound.above + 1) / 2
        if mean <= 0:
            return 1.0
        gains = np.maximum(log_gains(_moved(self._known, gain), mean), -1e3)  # a lost capital stays lost
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


def _needed(known: Any, bound: Bound, *, gain: float, power: float) -> int:  # noqa: ANN401 - numpy's arrays
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


def _representative(differences: Sequence[float]) -> Any:  # noqa: ANN401 - numpy's arrays
    """Return the differences or, of many, their quantiles; those of a normal distribution where none are known."""
    np, _ = statistics()
    if len(differences) < 2:  # noqa: PLR2004 - one says nothing about how they vary
        return np.asarray(_assumed())
    if len(differences) <= _MAX_VALUES:
        return np.asarray(differences)
    return np.quantile(np.asarray(differences), (np.arange(_MAX_VALUES) + 0.5) / _MAX_VALUES)


@cache
def _assumed() -> Sequence[float]:
    normal = NormalDist(0, ASSUMED_DEVIATION)
    return [max(-1.0, min(1.0, normal.inv_cdf((number + 0.5) / _MAX_VALUES))) for number in range(_MAX_VALUES)]


def _moved(known: Any, gain: float) -> Any:  # noqa: ANN401 - numpy's arrays
    """Return the differences moved so that their mean is the gain, all within -1 and 1."""
    np, _ = statistics()
    low, high = -2.0, 2.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if np.clip(known + middle, -1, 1).mean() < gain else (low, middle)
    return np.clip(known + high, -1, 1)
