"""What came of a step's requests, and when that is reason enough to take a candidate back."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from tidemill_inference.rollouts.domain import evidence
from tidemill_inference.rollouts.domain.evidence import Counted
from tidemill_inference.rollouts.domain.policy import AbortRules, RolloutStep

LIVE = "live"
CANDIDATE = "candidate"
MIN_COMPARED = 5
"""Times and ratings are compared from so many answers of each side on: no single vote takes a candidate back."""
FALSE_ABORTS = 0.05
"""The share of steps, at most, in which a candidate that keeps every limit is taken back, however often it is looked
at; the rules that are set share it."""
_RATING_STEPS = 50
"""Ratings are counted in so many steps; between two, each side gets the one that speaks for the candidate."""


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
    INDEX_NOT_READY = "INDEX_NOT_READY"
    NO_POLICY = "NO_POLICY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one answer in a step; `rating` is 0 to 1, None without one.

    `total_s` is without the search, which copies are spared, but where it is the search that is compared.
    """

    inference: str
    rollout: str
    step: int
    variant: str
    failed: bool
    total_s: float
    rating: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What verdicts are worked out of, of one side: the times of its answers, and its ratings by how many there are."""

    times_s: Sequence[float] = ()
    ratings: Counted = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCounts:
    """A step's outcomes, counted. `requests` are the live ones of both variants, `candidate` counts shadows too.

    Samples are not kept with a rollout.
    """

    requests: int = 0
    baseline: int = 0
    candidate: int = 0
    candidate_failures: int = 0
    baseline_failures: int = 0
    candidate_p95_s: float | None = None
    baseline_p95_s: float | None = None
    candidate_rating: float | None = None
    baseline_rating: float | None = None
    candidate_rated: int = 0
    baseline_rated: int = 0
    candidate_samples: Samples = field(default_factory=Samples, compare=False, repr=False)
    baseline_samples: Samples = field(default_factory=Samples, compare=False, repr=False)

    @classmethod
    def of(cls, outcomes: Sequence[Outcome], *, shadow: bool) -> "StepCounts":
        """Count the outcomes of one step; in a shadow step the candidate's answers are copies, not requests."""
        candidate = [each for each in outcomes if each.variant == CANDIDATE]
        baseline = [each for each in outcomes if each.variant == LIVE]
        rated = [each.rating for each in candidate if each.rating is not None]
        baseline_rated = [each.rating for each in baseline if each.rating is not None]
        candidate_s = sorted(each.total_s for each in candidate if not each.failed)
        baseline_s = sorted(each.total_s for each in baseline if not each.failed)
        return cls(
            requests=len(baseline) + (0 if shadow else len(candidate)),
            baseline=len(baseline),
            candidate=len(candidate),
            candidate_failures=sum(each.failed for each in candidate),
            baseline_failures=sum(each.failed for each in baseline),
            candidate_p95_s=_p95(candidate_s),
            baseline_p95_s=_p95(baseline_s),
            candidate_rating=_mean(rated),
            baseline_rating=_mean(baseline_rated),
            candidate_rated=len(rated),
            baseline_rated=len(baseline_rated),
            candidate_samples=Samples(times_s=candidate_s, ratings=Counter(map(_maximum, rated))),
            baseline_samples=Samples(times_s=baseline_s, ratings=Counter(map(_minimum, baseline_rated))),
        )

    def reached(self, step: RolloutStep) -> bool:
        """Whether the step has seen all requests and answers that it needs; what failed, as in an outage, is none."""
        failed = self.baseline_failures + (0 if step.shadow else self.candidate_failures)
        answers = self.candidate - self.candidate_failures
        return self.requests - failed >= step.requests and answers >= step.minimum

    def abort(self, step: RolloutStep, rules: AbortRules) -> tuple[Reason, str] | None:
        """Return why the candidate has to be taken back, for programs and for people; None with too few answers.

        It may be asked after every outcome: all rules together take a candidate back that keeps them in FALSE_ABORTS of
        steps at most.
        """
        seen = self.requests >= step.requests and self.candidate >= step.minimum
        if self.candidate < step.early_minimum and not seen:
            return None
        convincing = math.log(max(1, rules.count) / FALSE_ABORTS)
        return self._errors(rules, convincing) or self._latency(rules, convincing) or self._rating(rules, convincing)

    def _errors(self, rules: AbortRules, convincing: float) -> tuple[Reason, str] | None:
        """Return whether the candidate fails more often than it may, and than a baseline that fails as well."""
        limit, failed = rules.error_rate_above, self.candidate_failures
        if limit is None or not failed:
            return None
        ours = {1.0: failed, 0.0: self.candidate - failed}
        if evidence.above(ours, limit) < convincing:
            return None
        theirs = {1.0: self.baseline_failures, 0.0: self.baseline - self.baseline_failures}
        if self.baseline_failures and evidence.less(theirs, ours, by=0.0) < convincing:
            return None
        return Reason.ERROR_RATE, f"{failed} of its {self.candidate} answers failed, above the limit of {limit:g}"

    def _latency(self, rules: AbortRules, convincing: float) -> tuple[Reason, str] | None:
        limit, ours, theirs = (
            rules.latency_p95_ratio_above,
            self.candidate_samples.times_s,
            self.baseline_samples.times_s,
        )
        if limit is None or min(len(ours), len(theirs)) < MIN_COMPARED:
            return None
        if evidence.slower(ours, theirs, by=limit) < convincing:
            return None
        text = f"p95 of {self.candidate_p95_s:.3g} s in {len(ours)} answers against {self.baseline_p95_s:.3g} s in "
        return Reason.LATENCY, f"{text}{len(theirs)} of the baseline: slower by more than the limit of {limit:g} times"

    def _rating(self, rules: AbortRules, convincing: float) -> tuple[Reason, str] | None:
        limit = rules.rating_loss_above
        if limit is None or min(self.candidate_rated, self.baseline_rated) < MIN_COMPARED:
            return None
        if evidence.less(self.candidate_samples.ratings, self.baseline_samples.ratings, by=limit) < convincing:
            return None
        text = f"mean rating of {self.candidate_rating:.3g} in {self.candidate_rated} answers against "
        text += f"{self.baseline_rating:.3g} in {self.baseline_rated} of the baseline"
        return Reason.RATING, f"{text}: less by more than the limit of {limit:g}"


def _maximum(rating: float) -> float:
    return math.ceil(rating * _RATING_STEPS) / _RATING_STEPS


def _minimum(rating: float) -> float:
    return math.floor(rating * _RATING_STEPS) / _RATING_STEPS


def _p95(seconds: Sequence[float]) -> float | None:
    """Return the 95th percentile of sorted times by nearest rank."""
    return seconds[math.ceil(0.95 * len(seconds)) - 1] if seconds else None


def _mean(numbers: Sequence[float]) -> float | None:
    return sum(numbers) / len(numbers) if numbers else None
