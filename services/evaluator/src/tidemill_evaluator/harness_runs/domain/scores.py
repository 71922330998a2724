"""Scores of a harness: how many tests were passed, and how sure that is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from tidemill_core.intervals import share_interval

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessScore:
    """How many tests of one kind a deployment passed."""

    test: str
    """A probe or task."""
    metric: str
    """A detector of a probe, or a metric of a task."""
    passed: int
    total: int

    @property
    def rate(self) -> float:
        """The share that was passed."""
        return self.passed / self.total

    @property
    def low(self) -> float:
        """Lower bound of the rate."""
        return share_interval(self.rate, self.total)[0]

    @property
    def high(self) -> float:
        """Upper bound of the rate."""
        return share_interval(self.rate, self.total)[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessComparison:
    """How a score differs between two runs."""

    baseline: HarnessScore
    candidate: HarnessScore
    low: float
    high: float

    @property
    def test(self) -> str:
        """The probe or task."""
        return self.candidate.test

    @property
    def metric(self) -> str:
        """The detector or metric."""
        return self.candidate.metric

    @property
    def difference(self) -> float:
        """The candidate's rate less the baseline's."""
        return self.candidate.rate - self.baseline.rate


def compare(
    baseline: Sequence[HarnessScore], candidate: Sequence[HarnessScore]
) -> tuple[Sequence[HarnessComparison], int]:
    """Return how the scores of both differ, by test and metric, and how many scores only one of them has.

    All intervals hold at once with CONFIDENCE: each has the level of Bonferroni for their number.
    """
    of_baseline, of_candidate = ({(each.test, each.metric): each for each in side} for side in (baseline, candidate))
    common = sorted(of_baseline.keys() & of_candidate.keys())
    z = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / 2 / max(1, len(common)))
    found = [_compared(of_baseline[key], of_candidate[key], z=z) for key in common]
    return found, len(of_baseline.keys() ^ of_candidate.keys())


def _compared(baseline: HarnessScore, candidate: HarnessScore, *, z: float) -> HarnessComparison:
    """Return the difference of two shares with its interval.

    By Newcombe, Interval estimation for the difference between independent proportions, 1998, method 10, of Wilson's
    intervals. Where both runs had the same tests, answers to one test are alike and the interval is too wide.
    """
    (low, high), (below, above) = (share_interval(each.rate, each.total, z=z) for each in (candidate, baseline))
    difference = candidate.rate - baseline.rate
    down = math.hypot(candidate.rate - low, above - baseline.rate)
    up = math.hypot(high - candidate.rate, baseline.rate - below)
    return HarnessComparison(
        baseline=baseline, candidate=candidate, low=max(-1.0, difference - down), high=min(1.0, difference + up)
    )
