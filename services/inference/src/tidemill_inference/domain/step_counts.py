"""What came of a step's requests, and when that is reason enough to take a candidate back."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from tidemill_inference.domain.rollout_policy import AbortRules, RolloutStep

LIVE = "live"
CANDIDATE = "candidate"
MIN_COMPARED = 5
"""Times are compared from so many answers of the baseline on, ratings from so many rated ones on each side; or from a
step's `at_least` where that is less."""


class Reason(Enum):
    """Why a rollout ended, or never began."""

    STEPS_DONE = "STEPS_DONE"
    ERROR_RATE = "ERROR_RATE"
    LATENCY = "LATENCY"
    RATING = "RATING"
    TIMEOUT = "TIMEOUT"
    BY_HAND = "BY_HAND"
    BASELINE_CHANGED = "BASELINE_CHANGED"
    ROLLOUT_ACTIVE = "ROLLOUT_ACTIVE"
    MODEL_NOT_READY = "MODEL_NOT_READY"
    NO_POLICY = "NO_POLICY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one answer in a step; `rating` is 0 to 1, None without one.

    `total_s` is without the search, which is no variant's own, and which copies are spared.
    """

    inference: str
    rollout: str
    step: int
    variant: str
    failed: bool
    total_s: float
    rating: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCounts:
    """A step's outcomes, counted. `requests` are the live ones of both variants, `candidate` counts shadows too.

    `baseline_timed` are the answers that `baseline_p95_s` is of.

    `candidate_p95_low_s` is what the candidate's 95th percentile is at least, with 95 % confidence.
    """

    requests: int = 0
    candidate: int = 0
    candidate_failures: int = 0
    baseline_failures: int = 0
    candidate_p95_s: float | None = None
    candidate_p95_low_s: float | None = None
    baseline_p95_s: float | None = None
    baseline_timed: int = 0
    candidate_rating: float | None = None
    baseline_rating: float | None = None
    candidate_rated: int = 0
    baseline_rated: int = 0

    @classmethod
    def of(cls, outcomes: Sequence[Outcome], *, shadow: bool) -> "StepCounts":
        """Count the outcomes of one step; in a shadow step the candidate's answers are copies, not requests."""
        candidate = [each for each in outcomes if each.variant == CANDIDATE]
        baseline = [each for each in outcomes if each.variant == LIVE]
        rated = [each.rating for each in candidate if each.rating is not None]
        baseline_rated = [each.rating for each in baseline if each.rating is not None]
        candidate_s = [each.total_s for each in candidate if not each.failed]
        baseline_s = [each.total_s for each in baseline if not each.failed]
        return cls(
            requests=len(baseline) + (0 if shadow else len(candidate)),
            candidate=len(candidate),
            candidate_failures=sum(each.failed for each in candidate),
            baseline_failures=sum(each.failed for each in baseline),
            candidate_p95_s=_p95(candidate_s),
            candidate_p95_low_s=_p95_low(candidate_s),
            baseline_p95_s=_p95(baseline_s),
            baseline_timed=len(baseline_s),
            candidate_rating=_mean(rated),
            baseline_rating=_mean(baseline_rated),
            candidate_rated=len(rated),
            baseline_rated=len(baseline_rated),
        )

    def reached(self, step: RolloutStep) -> bool:
        """Whether the step has seen as much as it wants to see."""
        return self.requests >= step.requests and self.candidate >= step.minimum

    def abort(self, step: RolloutStep, rules: AbortRules) -> tuple[Reason, str] | None:
        """Return why the candidate has to be taken back, for programs and for people; None with too few answers."""
        if self.candidate < step.early_minimum and not self.reached(step):
            return None
        errors = self.candidate_failures / self.candidate
        if rules.error_rate_above is not None and errors > rules.error_rate_above:
            return Reason.ERROR_RATE, _text("of its answers failed", errors, rules.error_rate_above, self.candidate)
        return self._latency(step, rules) or self._rating(step, rules)

    def _latency(self, step: RolloutStep, rules: AbortRules) -> tuple[Reason, str] | None:
        limit = rules.latency_p95_ratio_above
        if limit is None or self.candidate_p95_low_s is None or not self.baseline_p95_s:
            return None
        if self.baseline_timed < _compared(step):
            return None
        ratio = self.candidate_p95_low_s / self.baseline_p95_s
        if ratio > limit:
            text = "times the baseline's p95 latency or more (95 % confidence)"
            return Reason.LATENCY, _text(text, ratio, limit, self.candidate)
        return None

    def _rating(self, step: RolloutStep, rules: AbortRules) -> tuple[Reason, str] | None:
        limit = rules.rating_loss_above
        if limit is None or self.candidate_rating is None or self.baseline_rating is None:
            return None
        if min(self.candidate_rated, self.baseline_rated) < _compared(step):
            return None
        loss = self.baseline_rating - self.candidate_rating
        if loss > limit:
            return Reason.RATING, _text("less in mean rating", loss, limit, self.candidate_rated)
        return None


def _compared(step: RolloutStep) -> int:
    """Return how many answers of a side a comparison needs."""
    return min(MIN_COMPARED, step.at_least or MIN_COMPARED)


def _text(what: str, value: float, limit: float, answers: int) -> str:
    return f"{value:.3g} {what} in {answers} answers, above the limit of {limit:g}"


def _p95(seconds: Sequence[float]) -> float | None:
    """Return the 95th percentile by nearest rank."""
    return sorted(seconds)[math.ceil(0.95 * len(seconds)) - 1] if seconds else None


def _p95_low(seconds: Sequence[float]) -> float | None:
    """Return a lower bound of the 95th percentile that holds with 95 % confidence, whatever the distribution.

    How many of n answers are slower than the percentile is binomial, so it is the order statistic that so many stand
    above (Conover, Practical Nonparametric Statistics, 3.2). Of few answers the slowest alone shows nothing; of many,
    the bound comes close to the percentile.
    """
    if not seconds:
        return None
    count, slower = len(seconds), 0
    log_chance = count * math.log(0.95)
    chance = math.exp(log_chance)
    while chance < 0.95 - sys.float_info.epsilon:
        log_chance += math.log((count - slower) / (slower + 1) * 0.05 / 0.95)
        chance += math.exp(log_chance)
        slower += 1
    return sorted(seconds)[count - slower - 1]


def _mean(numbers: Sequence[float]) -> float | None:
    return sum(numbers) / len(numbers) if numbers else None
