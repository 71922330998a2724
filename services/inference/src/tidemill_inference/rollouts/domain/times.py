"""Sequential tests of times by betting: whether a side is slower, each user one observation.

At a moment a user's value is the share of the user's times that are beyond it, and means of these are compared as
`evidence` compares means: a quantile of times is where that mean is a given one. So a user with many answers says no
more than one with a single answer, and times of one user need not be independent. Shares are rounded down to steps,
against what is to be shown.
"""

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from tidemill_inference.rollouts.domain.evidence import above, log_sum

_MOMENTS = 50
"""Among so many times a quantile of both sides is searched for; between two, the weaker evidence of either counts."""
_RATIO_STEP, _RATIO_STEPS = 1.05, 100
"""Ratios of times are compared at so many powers of it, up and down: 0.0076 to 131."""
_STEPS = 60
"""Shares of a user's times are so many steps: halves to sixths are exact."""
QUANTILES = (0.5, 0.75, 0.95)
"""Where times are compared: a side that is slower altogether shows it at the median first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """The times of one side by user, in order: of users with one alone, and of each of the others."""

    alone: Sequence[float] = ()
    several: Sequence[Sequence[float]] = ()

    @classmethod
    def of(cls, by_user: Iterable[Sequence[float]]) -> "Times":
        """Return those of users, each of whom has one at least."""
        found = [sorted(each) for each in by_user]
        alone = sorted(each[0] for each in found if len(each) == 1)
        return cls(alone=alone, several=[each for each in found if len(each) > 1])

    @property
    def users(self) -> int:
        """How many users there are."""
        return len(self.alone) + len(self.several)

    def divided(self, by: float) -> "Times":
        """Return what they would be with this factor less."""
        return Times(
            alone=[time / by for time in self.alone],
            several=[[time / by for time in each] for each in self.several],
        )

    @property
    def distinct(self) -> set[float]:
        """All times, each once."""
        return {*self.alone, *(time for each in self.several for time in each)}


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioBounds:
    """What the ratio of two median times is within, the candidate's to the baseline's; without a bound 0 and None."""

    low: float
    high: float | None


def slower(times: Times, than: Times, *, by: float) -> float:
    """Return what was made of betting that times are longer than the others by more than this factor.

    What is supposed is that no quantile among QUANTILES is: the capital is shared out among them. Each is compared as
    means are, over every time that it could be.
    """
    if not times.users or not than.users:
        return -math.inf
    compared = _compared(times.divided(by), than)
    return log_sum(_slower_at(quantile, compared) for quantile in QUANTILES) - math.log(len(QUANTILES))


def median_ratio(times: Times, than: Times, *, error: float) -> RatioBounds | None:
    """Return bounds of the ratio of medians, a confidence sequence; None where a side has no time.

    Each bound is the greatest power of _RATIO_STEP by which one side is shown to be slower.
    """
    if not times.users or not than.users:
        return None
    convincing = math.log(2 / error)
    low, faster = _shown_factor(times, than, convincing), _shown_factor(than, times, convincing)
    return RatioBounds(low=low, high=1 / faster if faster else None)


def _shown_factor(times: Times, than: Times, convincing: float) -> float:
    """Return the greatest factor by which the median is shown to be above the others'; 0 where none is."""

    def shown(steps: int) -> bool:
        return _slower_at(0.5, _compared(times.divided(_RATIO_STEP**steps), than)) >= convincing

    if not shown(-_RATIO_STEPS):
        return 0.0
    low, high = -_RATIO_STEPS, _RATIO_STEPS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if shown(middle) else (low, middle)
    return float(_RATIO_STEP**low)


_Shares = tuple[tuple[int, int], ...]
"""How many users have which share, in steps, of their times beyond a moment."""
_Bisect = Callable[[Sequence[float], float], int]


def _compared(ours: Times, theirs: Times) -> set[tuple[_Shares, _Shares]]:
    """Return the shares of our times above, and of theirs below, every moment that a quantile could be.

    That are some of the times, and all that is between two of these.
    """
    moments = _some(sorted(ours.distinct | theirs.distinct))
    later, earlier = [*moments, math.inf], [-math.inf, *moments]
    return {
        *zip(_above(ours, moments), _below(theirs, moments), strict=True),
        *zip(_above(ours, later, also_at=True), _below(theirs, earlier, also_at=True), strict=True),
    }


def _slower_at(quantile: float, compared: Iterable[tuple[_Shares, _Shares]]) -> float:
    """Return the least over every moment that the others' quantile could be."""
    return min(_shown(longer, 1.0 - quantile) + _shown(shorter, quantile) for longer, shorter in compared)


def _above(times: Times, moments: Sequence[float], *, also_at: bool = False) -> Sequence[_Shares]:
    place, passed = (bisect_right, bisect_left) if also_at else (bisect_left, bisect_right)
    return _shares(times, moments, place, passed, lambda number, before: number - before)


def _below(times: Times, moments: Sequence[float], *, also_at: bool = False) -> Sequence[_Shares]:
    place, passed = (bisect_left, bisect_right) if also_at else (bisect_right, bisect_left)
    return _shares(times, moments, place, passed, lambda _, before: before)


def _shares(
    times: Times, moments: Sequence[float], place: _Bisect, passed: _Bisect, counted: Callable[[int, int], int]
) -> Sequence[_Shares]:
    """Return the shares at each moment; `counted` says how many of a number of times are, by how many are before it.

    `place` finds the first moment that a time is before, and `passed` how many times are before a moment.
    """
    changes = defaultdict[int, list[int]](lambda: [0] * (len(moments) + 1))
    for own in times.several:
        start, number = 0, len(own)
        for before, end in enumerate([*(place(moments, time) for time in own), len(moments)]):
            if end > start:
                change = changes[counted(number, before) * _STEPS // number]
                change[start] += 1
                change[end] -= 1
                start = end
    counts = {share: list(accumulate(change[:-1])) for share, change in changes.items()}
    number = len(times.alone)
    every, none = (counts.setdefault(share, [0] * len(moments)) for share in (_STEPS, 0))
    for index, moment in enumerate(moments if number else ()):
        beyond = counted(number, passed(times.alone, moment))
        every[index] += beyond
        none[index] += number - beyond
    shares = sorted(counts)
    columns = zip(*(counts[share] for share in shares), strict=True)
    return [tuple((share, count) for share, count in zip(shares, column, strict=True) if count) for column in columns]


def _shown(shares: _Shares, mean: float) -> float:
    """Return what was made of betting that the mean of the shares is above this one."""
    counts = dict(shares)
    if counts.keys() <= {0, _STEPS}:
        return _shown_of_all(counts.get(_STEPS, 0), counts.get(0, 0), mean)
    return above({share / _STEPS: count for share, count in shares}, mean)


@lru_cache(maxsize=10_000)
def _shown_of_all(ones: int, zeros: int, mean: float) -> float:
    """Return it of ones and zeros; one outcome more changes few of the shares that are compared."""
    return above({1.0: ones, 0.0: zeros}, mean)


def _some(moments: Sequence[float]) -> Sequence[float]:
    """Return so many of them at most, evenly spread."""
    step = max(1, math.ceil(len(moments) / _MOMENTS))
    return moments[::step]
