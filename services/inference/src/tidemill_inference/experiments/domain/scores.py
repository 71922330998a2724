"""What the answers of an arm come to: of each measure the mean score of its users, and how it differs."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from tidemill_inference.experiments.domain.plan import Measure, Measured
from tidemill_inference.rollouts.domain import evidence
from tidemill_inference.rollouts.domain.evidence import Bounds
from tidemill_inference.rollouts.domain.step_counts import Outcome
from tidemill_inference.rollouts.domain.values import GivenValue, SideValues, side_values

NANOS = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What an arm has of a measure; where many scores differ, they are rounded down in `low`, and up in `high`."""

    measure: str
    low: SideValues = field(default_factory=SideValues)
    high: SideValues = field(default_factory=SideValues)
    difference: Bounds | None = None
    """Of the means, arm less control, at any time; None where it was not asked for, or a side has no value."""

    @property
    def mean(self) -> float | None:
        """The mean score."""
        return self.low.mean

    @property
    def number(self) -> float:
        """The effective number of users that it is of."""
        return self.low.number

    @property
    def immature(self) -> int:
        """Values that do not count yet."""
        return self.low.immature

    def with_difference(self, control: "Score", *, error: float) -> "Score":
        """Return it with the bounds of the difference."""
        if self.mean is None or control.mean is None:
            return self
        least = evidence.difference(self.low.samples, control.high.samples, error=error)
        most = evidence.difference(self.high.samples, control.low.samples, error=error)
        return replace(self, difference=Bounds(low=least.low, high=most.high))


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmCounts:
    """What counts of one arm."""

    answers: int = 0
    failures: int = 0
    users: int = 0
    goal: Score = field(default_factory=lambda: Score(measure=""))
    guardrails: tuple[Score, ...] = ()


def counts_of_arm(
    outcomes: Sequence[Outcome], goal: Measured, guardrails: Sequence[Measured], now: datetime
) -> ArmCounts:
    """Return what the answers of an arm come to; values before they mature do not count."""
    return ArmCounts(
        answers=len(outcomes),
        failures=sum(each.failed for each in outcomes),
        users=len({each.user or each.inference for each in outcomes}),
        goal=_score(outcomes, goal, now),
        guardrails=tuple(_score(outcomes, each, now) for each in guardrails),
    )


def _score(outcomes: Sequence[Outcome], measured: Measured, now: datetime) -> Score:
    given = list(_values(outcomes, measured))
    return Score(
        measure=measured.name,
        low=side_values(given, now, rounded=math.floor),
        high=side_values(given, now, rounded=math.ceil),
    )


def _values(outcomes: Sequence[Outcome], measured: Measured) -> Iterator[tuple[str, GivenValue]]:
    """Yield the scores of answers, each of the user who asked.

    What is said of an answer that a fallback gave says nothing of the arm, whose model failed.
    """
    for each in outcomes:
        match measured.measure:
            case Measure.METRIC:
                for value in each.values:
                    if value.metric == measured.metric and not each.failed:
                        yield each.inference, replace(value, user=each.user or value.user)
                continue
            case Measure.FAILURES:
                score = float(not each.failed)
            case Measure.LATENCY:
                score = 0.0 if each.failed else measured.score(each.total_s)
            case Measure.COST if not each.failed and each.cost_nanos is not None:
                score = measured.score(each.cost_nanos / NANOS)
            case _:
                continue
        yield each.inference, GivenValue(metric=measured.name, score=score, user=each.user)
