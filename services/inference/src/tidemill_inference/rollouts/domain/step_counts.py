"""What came of a step's requests, and when that is reason enough to take a candidate back."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum

from tidemill_inference.rollouts.domain import evidence
from tidemill_inference.rollouts.domain.evidence import Bounds, RatioBounds, Weighted
from tidemill_inference.rollouts.domain.policy import MAX_WEIGHT, RATING, AbortRules, MetricRule, RolloutStep
from tidemill_inference.rollouts.domain.values import (
    GivenValue,
    MetricCounts,
    SideValues,
    by_metric,
    counted_metric,
    is_enough,
)

LIVE = "live"
CANDIDATE = "candidate"
MIN_COMPARED = 5
"""From so many times, or values (effective ones), of each side on they are compared: no single vote takes a candidate
back."""
FALSE_ABORTS = 0.05
"""The share of steps, at most, in which a candidate that keeps every limit is taken back, however often it is looked
at; the rules that are set share it. Failures and times are of answers, not of users: for these it holds where answers
are independent."""


class Reason(Enum):
    """Why a rollout ended, or never began."""

    STEPS_DONE = "STEPS_DONE"
    ERROR_RATE = "ERROR_RATE"
    LATENCY = "LATENCY"
    RATING = "RATING"
    METRIC = "METRIC"
    TIMEOUT = "TIMEOUT"
    SERVER_ENDED = "SERVER_ENDED"
    BY_HAND = "BY_HAND"
    BASELINE_CHANGED = "BASELINE_CHANGED"
    ROLLOUT_ACTIVE = "ROLLOUT_ACTIVE"
    MODEL_NOT_READY = "MODEL_NOT_READY"
    INDEX_NOT_READY = "INDEX_NOT_READY"
    PROMPT_NOT_READY = "PROMPT_NOT_READY"
    NO_POLICY = "NO_POLICY"
    EXPERIMENT_ACTIVE = "EXPERIMENT_ACTIVE"
    SAME_CANDIDATE = "SAME_CANDIDATE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one answer in a step, and the values that it was given.

    `total_s` is without the search, which copies are spared, but where it is the search that is compared. In an
    experiment `rollout` is the run, `step` its epoch, and `variant` the arm.
    """

    inference: str
    rollout: str
    step: int
    variant: str
    failed: bool
    total_s: float
    values: tuple[GivenValue, ...] = ()
    user: str = ""
    """Who asked, in an experiment: the pseudonym when it is recorded, its digest when it is read; "" without one."""
    cost_nanos: int | None = None
    """What it cost, in an experiment; None where that is not known."""
    cohorts: Mapping[str, str] = field(default_factory=dict)
    """Labels of the request, in an experiment: those by which it shows results, once it is recorded."""
    asked_at: datetime | None = None
    """In an experiment that shows results by labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerEnd:
    """The end of a server that both sides share, while it gave answers of the candidate in a step.

    `start` names what ended, once for all answers and replicas that saw it.
    """

    rollout: str
    step: int
    start: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What verdicts are worked out of, of one side: the times of its answers, and its ratings by weight and number."""

    times_s: Sequence[float] = ()
    ratings: Weighted = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCounts:
    """A step's outcomes, counted. `requests` are the live ones of both variants, `candidate` counts shadows too.

    Samples are not kept with a rollout. `candidate_rated` and `baseline_rated` are effective numbers of ratings.
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
    candidate_rated: float = 0
    baseline_rated: float = 0
    metrics: tuple[MetricCounts, ...] = ()
    server_ends: int = 0
    """See `ServerEnd`."""
    failure_difference: Bounds | None = None
    """Of the shares of answers that failed, candidate less baseline, wrong with FALSE_ABORTS at any time if answers are
    independent; None where a side has no answer, or where they were not asked for."""
    rating_difference: Bounds | None = None
    """The same of the mean ratings, of which each user has one."""
    latency_ratio: RatioBounds | None = None
    """The same of the ratio of the median times, if answers are independent."""
    candidate_samples: Samples = field(default_factory=Samples, compare=False, repr=False)
    baseline_samples: Samples = field(default_factory=Samples, compare=False, repr=False)

    @classmethod
    def of(
        cls,
        outcomes: Sequence[Outcome],
        *,
        shadow: bool,
        metrics: Sequence[MetricRule] = (),
        now: datetime | None = None,
    ) -> "StepCounts":
        """Count the outcomes of one step; in a shadow step the candidate's answers are copies, not requests.

        Values that have not matured by `now` do not count.
        """
        candidate = [each for each in outcomes if each.variant == CANDIDATE]
        baseline = [each for each in outcomes if each.variant == LIVE]
        candidate_s = sorted(each.total_s for each in candidate if not each.failed)
        baseline_s = sorted(each.total_s for each in baseline if not each.failed)
        ours, theirs = by_metric(_given(candidate)), by_metric(_given(baseline))
        ratings, *declared = (
            counted_metric(metric, candidate=ours, baseline=theirs, now=now)
            for metric in (RATING, *(rule.metric for rule in metrics))
        )
        return cls(
            requests=len(baseline) + (0 if shadow else len(candidate)),
            baseline=len(baseline),
            candidate=len(candidate),
            candidate_failures=sum(each.failed for each in candidate),
            baseline_failures=sum(each.failed for each in baseline),
            candidate_p95_s=_p95(candidate_s),
            baseline_p95_s=_p95(baseline_s),
            candidate_rating=ratings.candidate.mean,
            baseline_rating=ratings.baseline.mean,
            candidate_rated=ratings.candidate.number,
            baseline_rated=ratings.baseline.number,
            metrics=tuple(declared),
            candidate_samples=Samples(times_s=candidate_s, ratings=ratings.candidate.samples),
            baseline_samples=Samples(times_s=baseline_s, ratings=ratings.baseline.samples),
        )

    @property
    def answers(self) -> int:
        """How many the candidate gave that did not fail."""
        return self.candidate - self.candidate_failures

    def with_differences(self) -> "StepCounts":
        """Return them with the bounds of each difference, which samples are needed for."""
        failures, ratings = self._failures(), self._ratings()
        return replace(
            self,
            failure_difference=failures.with_difference(error=FALSE_ABORTS).difference,
            rating_difference=ratings.with_difference(error=FALSE_ABORTS).difference,
            latency_ratio=evidence.median_ratio(
                self.candidate_samples.times_s, self.baseline_samples.times_s, error=FALSE_ABORTS
            ),
            metrics=tuple(each.with_difference(error=FALSE_ABORTS) for each in self.metrics),
        )

    def _failures(self) -> MetricCounts:
        sides = (self.candidate, self.candidate_failures), (self.baseline, self.baseline_failures)
        ours, theirs = (
            SideValues(
                mean=failed / answers if answers else None,
                number=answers,
                samples={1.0: {1.0: failed, 0.0: answers - failed}},
            )
            for answers, failed in sides
        )
        return MetricCounts(metric="failures", candidate=ours, baseline=theirs)

    def _ratings(self) -> MetricCounts:
        return MetricCounts(
            metric=RATING,
            candidate=SideValues(
                mean=self.candidate_rating, number=self.candidate_rated, samples=self.candidate_samples.ratings
            ),
            baseline=SideValues(
                mean=self.baseline_rating, number=self.baseline_rated, samples=self.baseline_samples.ratings
            ),
        )

    def reached(self, step: RolloutStep, rules: AbortRules) -> bool:
        """Whether the step has seen all requests, answers and values that it needs.

        What failed, as in an outage, is none; of copies, which users do not see, there are no values.
        """
        return self._seen(step) and (step.shadow or not self.missing_values(step, rules))

    def missing(self, step: RolloutStep, rules: AbortRules) -> str:
        """Return what a step that is over did not see: enough, or which values of metrics."""
        values = [] if step.shadow else self.missing_values(step, rules)
        if not values:
            return "enough"
        of_metrics = f"enough values of {', '.join(values)}"
        return of_metrics if self._seen(step) else f"enough answers, nor {of_metrics}"

    def _seen(self, step: RolloutStep) -> bool:
        failed = self.baseline_failures + (0 if step.shadow else self.candidate_failures)
        return self.requests - failed >= step.requests and self.answers >= step.minimum

    def missing_values(self, step: RolloutStep, rules: AbortRules) -> Sequence[str]:
        """Return the metrics of which a step with a weight has too few values still."""
        counts, alone = {each.metric: each for each in self.metrics}, step.weight == MAX_WEIGHT
        return [
            rule.metric
            for rule in rules.metrics
            if rule.at_least
            and not counts.get(rule.metric, MetricCounts(metric=rule.metric)).reached(
                rule.at_least, without_baseline=alone
            )
        ]

    def ended(self, *, above: int) -> tuple[Reason, str] | None:
        """Return that servers ended more often than this; which answers end them is not known."""
        if self.server_ends <= above:
            return None
        text = f"the server of both sides ended {self.server_ends} times while the candidate answered"
        return Reason.SERVER_ENDED, f"{text}, {self.answers} of whose answers came"

    def abort(self, step: RolloutStep, rules: AbortRules) -> tuple[Reason, str] | None:
        """Return why the candidate has to be taken back, for programs and for people; None with too few answers.

        It may be asked after every outcome: all rules together take a candidate back that keeps them in FALSE_ABORTS of
        steps at most, where answers fail and take their time independently of one another.
        """
        seen = self.requests >= step.requests and self.candidate >= step.minimum
        if self.candidate < step.early_minimum and not seen:
            return None
        convincing = math.log(max(1, rules.count) / FALSE_ABORTS)
        return (
            self._errors(rules, convincing)
            or self._latency(rules, convincing)
            or self._rating(rules, convincing)
            or self._metric(rules, convincing)
        )

    def _errors(self, rules: AbortRules, convincing: float) -> tuple[Reason, str] | None:
        """Return whether the candidate fails more often than it may, and than a baseline that fails as well."""
        limit, failed = rules.error_rate_above, self.candidate_failures
        if limit is None or not failed:
            return None
        ours = {1.0: failed, 0.0: self.candidate - failed}
        if evidence.above(ours, limit) < convincing:
            return None
        theirs = {1.0: self.baseline_failures, 0.0: self.baseline - self.baseline_failures}
        if self.baseline_failures and evidence.less({1.0: theirs}, {1.0: ours}, by=0.0) < convincing:
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
        limit, ratings = rules.rating_loss_above, self._ratings()
        ours, theirs = ratings.candidate, ratings.baseline
        if limit is None or not is_less(ours, theirs, by=limit, convincing=convincing):
            return None
        text = f"mean rating of {ours.mean:.3g} in {ours.number:.3g} values against "
        text += f"{theirs.mean:.3g} in {theirs.number:.3g} of the baseline"
        return Reason.RATING, f"{text}: less by more than the limit of {limit:g}"

    def _metric(self, rules: AbortRules, convincing: float) -> tuple[Reason, str] | None:
        counts = {each.metric: each for each in self.metrics}
        for rule in rules.metrics:
            limit, found = rule.loss_above, counts.get(rule.metric)
            if limit is None or found is None:
                continue
            ours, theirs = found.candidate, found.baseline
            if is_less(ours, theirs, by=limit, convincing=convincing):
                text = f"{rule.metric} has a mean score of {ours.mean:.3g} in {ours.number:.3g} values against "
                text += f"{theirs.mean:.3g} in {theirs.number:.3g} of the baseline"
                return Reason.METRIC, f"{text}: less by more than the limit of {limit:g}"
        return None


def is_less(ours: SideValues, theirs: SideValues, *, by: float, convincing: float) -> bool:
    """Return whether a mean is shown to be less by more than this, with so much made of betting on it."""
    if ours.mean is None or theirs.mean is None or not is_enough(min(ours.number, theirs.number), MIN_COMPARED):
        return False
    if ours.mean >= theirs.mean - by:
        return False  # nothing is made of bets against what the means say: by Jensen's inequality, for each of them
    return evidence.less(ours.samples, theirs.samples, by=by) >= convincing


def _given(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, GivenValue]]:
    return ((each.inference, value) for each in outcomes for value in each.values)


def _p95(seconds: Sequence[float]) -> float | None:
    """Return the 95th percentile of sorted times by nearest rank."""
    return seconds[math.ceil(0.95 * len(seconds)) - 1] if seconds else None
