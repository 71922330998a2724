"""From scores of single cases to a verdict."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import fmean, median

from tidemill_evaluator.evaluations.domain.clusters import Cluster, answered_of, averages
from tidemill_evaluator.evaluations.domain.results import NOT_IN_TIME, CaseResult
from tidemill_evaluator.gates.domain.gate import Requirement, RetrievalRequirement
from tidemill_evaluator.metrics.domain.load import under_like_load
from tidemill_evaluator.metrics.domain.metric import LATENCY_S, Metric
from tidemill_evaluator.suites.domain.cases import CaseSet


class Verdict(Enum):
    """Verdict of a gate; NONE without a gate. WORSE and NOT_WORSE are of re-evaluations."""

    PASSED = "passed"
    FAILED = "failed"
    NONE = "none"
    WORSE = "worse"
    NOT_WORSE = "not_worse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Bounds of a mean."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Minimum evidence for a verdict."""

    min_questions: int = 10
    """Minimum number of distinct questions answered by both sides, for all requirements."""
    max_unanswered: float = 0.1
    """Maximum share of cases without an answer of both sides, and of a metric's cases without a value of it."""
    min_clusters: int = 7
    """Minimum number of clusters of a metric without bounds: its interval is no wider for having few that are alike."""
    min_slice: int = 10
    """Minimum number of clusters of a slice that p-values are stated of."""
    max_slices: int = 100
    """Maximum number of comparisons of slices of an evaluation."""

    def questions_for(self, requirement: Requirement | RetrievalRequirement) -> int:
        """Return how many distinct questions a requirement needs at least."""
        return max(self.min_questions, requirement.at_least)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Paired difference of a metric on a set of cases; means, difference and interval use the same pairs.

    Repeats of a question count once, as their mean, and so do the questions of a cluster: `cases` counts questions,
    failures count cases. A case without both answers, or without a value of both, is in no mean; `not_in_time` are
    cases attributed to neither side. `difference` and its interval are the candidate's gain: baseline less candidate
    where `less_is_better`.
    """

    case_set: str
    metric: str
    cases: int
    baseline: float
    candidate: float
    difference: float
    low: float
    high: float
    required: bool
    gain_above: float
    at_least: int
    holds: bool
    baseline_failures: int
    candidate_failures: int
    unanswered: int = 0
    not_in_time: int = 0
    missing: int = 0
    """Cases that both sides answered, of which a side has no value of the metric, or both."""
    less_is_better: bool = False
    note: str = ""
    """Why the requirement does not hold."""
    clusters: int = 0
    """Observations: what depends on one another is one. 0 in evaluations of earlier versions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """Median durations of both sides' answers over the same pairs."""

    baseline_s: float
    candidate_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A comparison to compute; evidence only if it has no requirement."""

    case_set: str
    metric: str
    requirement: Requirement | None = None
    less_is_better: bool = False
    bounded: bool = True

    @classmethod
    def by(cls, metric: Metric, case_set: str, requirement: Requirement | None = None) -> "Asked":
        """Return a comparison by a metric."""
        return cls(
            case_set=case_set,
            metric=metric.name,
            requirement=requirement,
            less_is_better=metric.less_is_better,
            bounded=metric.bounded,
        )

    def gain(self, result: CaseResult) -> float:
        """Return how much better the candidate is in one case."""
        return result.difference(self.metric, less_is_better=self.less_is_better)

    def of_baseline(self, result: CaseResult) -> float:
        """Return the baseline's value."""
        return result.baseline.scores.get(self.metric, 0.0)

    def of_candidate(self, result: CaseResult) -> float:
        """Return the candidate's value."""
        return result.candidate.scores.get(self.metric, 0.0)

    def largest_gain(self, result: CaseResult) -> float:
        """Return the gain of a candidate with the best value of a bounded metric."""
        baseline = self.of_baseline(result)
        return baseline if self.less_is_better else 1 - baseline

    def worst(self, results: Iterable[CaseResult]) -> float:
        """Return the worst value: 0 or 1, and where less is better by an unbounded metric the highest of any answer."""
        if not self.less_is_better:
            return 0.0
        if self.bounded:
            return 1.0
        sides = [side for result in results for side in (result.baseline, result.candidate)]
        late = [side.total_s for side in sides if self.metric == LATENCY_S and side.failure == NOT_IN_TIME]
        return max((*late, *(side.scores.get(self.metric, 0.0) for side in sides)), default=0.0)

    def loss(self, result: CaseResult, worst: float) -> float:
        """Return what a case counts against a candidate without a value of it, which is as good as the worst value.

        A case that the metric does not apply to counts nothing.
        """
        baseline = result.baseline.scores.get(self.metric)
        if baseline is None:
            return 0.0
        return worst - baseline if self.less_is_better else baseline - worst


def asked_of(
    case_sets: Sequence[CaseSet],
    require: Sequence[Requirement],
    metrics: Callable[[str], Metric],
    scored: Mapping[str, Sequence[str]],
) -> list[Asked]:
    """Return the comparisons to compute: requirements first, then what else is scored on each set.

    `metrics` gives a metric of its name, `scored` the names of what is computed on a set.
    """
    required = [
        Asked.by(metrics(each.metric), next(filter(each.is_of, case_sets)).name, requirement=each) for each in require
    ]
    known = {(asked.case_set, asked.metric) for asked in required}
    names = [case_set.name for case_set in case_sets]
    others = [Asked.by(metrics(metric), name) for name in names for metric in scored[name]]
    return required + [asked for asked in others if (asked.case_set, asked.metric) not in known]


def compared(
    asked: Asked,
    results: Sequence[CaseResult],
    clusters: Sequence[Cluster],
    interval: Interval,
    *,
    evidence: Evidence,
) -> Comparison:
    """Return the comparison; `clusters` are those of the results that have a value of both sides."""
    requirement, metric = asked.requirement, asked.metric
    note = ""
    if requirement:
        note = _shortfall(asked, requirement, results, clusters, low=interval.low, evidence=evidence)
    answered = answered_of(clusters)
    baseline, candidate = (
        fmean(averages(answered, score)) if answered else 0.0 for score in (asked.of_baseline, asked.of_candidate)
    )
    return Comparison(
        case_set=asked.case_set,
        metric=metric,
        cases=_questions(answered),
        clusters=len(answered),
        baseline=baseline,
        candidate=candidate,
        difference=baseline - candidate if asked.less_is_better else candidate - baseline,
        low=interval.low,
        high=interval.high,
        required=requirement is not None,
        gain_above=requirement.gain_above if requirement else 0.0,
        at_least=requirement.at_least if requirement else 0,
        holds=not note,
        baseline_failures=sum(result.baseline.failed for result in results),
        candidate_failures=sum(result.candidate.failed for result in results),
        unanswered=sum(not result.answered for result in results),
        not_in_time=sum(_nobodys(result) for result in results),
        missing=sum(result.lacks(metric) for result in results),
        less_is_better=asked.less_is_better,
        note=note,
    )


def undecided(results: Sequence[CaseResult], size: int, evidence: Evidence) -> str:
    """Return why a set of `size` cases cannot have a verdict any more, "" if it can.

    Failures of the candidate alone do not prevent a verdict: they decide against it.
    """
    lacking = [result for result in results if not result.answered]
    candidates = [result for result in lacking if result.candidate.failed and not result.baseline.failure]
    maximum = evidence.max_unanswered * size
    if len(lacking) <= maximum or len(candidates) > maximum:
        return ""
    late, failed = sum(map(_nobodys, lacking)), sum(result.baseline.failed for result in lacking)
    return (
        f"{len(lacking)} of its {size} cases lack an answer of both sides ({late} missed the deadline, {failed} failed "
        f"by the baseline, {len(candidates)} by the candidate); the limit is {evidence.max_unanswered:.0%}: raise "
        "the deployment's deadline or fix the failures (see `evaluations cases`), then start another evaluation"
    )


def latencies_of(results: Sequence[CaseResult]) -> Latencies | None:
    """Return the medians over pairs answered under similar load, None without any."""
    alike = [each for each in results if each.answered and under_like_load(each.baseline, each.candidate)]
    if not alike:
        return None
    return Latencies(
        baseline_s=median(each.baseline.total_s for each in alike),
        candidate_s=median(each.candidate.total_s for each in alike),
    )


def verdict_of(comparisons: Sequence[Comparison]) -> Verdict:
    """Return PASSED if all requirements hold, NONE if there are none."""
    required = [comparison for comparison in comparisons if comparison.required]
    if not required:
        return Verdict.NONE
    return Verdict.PASSED if all(comparison.holds for comparison in required) else Verdict.FAILED


def _shortfall(  # noqa: PLR0913 - all that decides
    asked: Asked,
    requirement: Requirement,
    results: Sequence[CaseResult],
    clusters: Sequence[Cluster],
    *,
    low: float,
    evidence: Evidence,
) -> str:
    """Return why the requirement does not hold, "" if it does.

    A case of which only the baseline has a value counts against the bound with the worst value, since its user had an
    answer before.
    """
    lost, questions = [result for result in results if result.lost(asked.metric)], _questions(answered_of(clusters))
    missing, size = sum(result.answered for result in lost), sum(result.has(asked.metric) for result in results)
    if len(lost) > evidence.max_unanswered * size:
        lacking = _lacking(asked.metric, failed=len(lost) - missing, missing=missing)
        return f"the candidate {lacking} of {size} cases; the limit is {evidence.max_unanswered:.0%}"
    unmeasured = sum(result.lacks(asked.metric) for result in results) - missing
    if unmeasured > evidence.max_unanswered * size:
        return (
            f"{unmeasured} of {size} cases have no {asked.metric} of the baseline, or of both sides; the limit "
            f"is {evidence.max_unanswered:.0%}"
        )
    minimum = evidence.questions_for(requirement)
    if questions < minimum:
        others = sum(not result.has(asked.metric) for result in results)
        what = f"of {asked.metric} there are " if missing or unmeasured or others else "both sides answered "
        return f"{what}{questions} distinct questions; at least {minimum} are needed: add cases" + _without(others)
    observed = len(answered_of(clusters))
    if not asked.bounded and observed < evidence.min_clusters:
        return (
            f"the {questions} questions are in {observed} clusters (those of one end user are one, or of what "
            f"`cluster_by` names); {asked.metric} has no bounds and needs at least {evidence.min_clusters}: add cases "
            "of others"
        )
    bound = with_lost(clusters, asked, low, worst=asked.worst(results))
    if bound > requirement.gain_above:
        return ""
    without = "of which the candidate has no value" if missing else "that the candidate failed"
    counted = f" with the {len(lost)} cases {without}" if lost else ""
    return f"the lower bound{counted} is {bound:+.4f}; it must be above {requirement.gain_above:+g}"


def _without(others: int) -> str:
    """Return that so many cases do not carry what a metric compares with."""
    needed = "a reference, a schema, an expectation, tests, passages or a pair"
    return f" ({others} cases do not carry what it compares with: {needed})" if others else ""


def with_lost(clusters: Sequence[Cluster], asked: Asked, bound: float, *, worst: float) -> float:
    """Return a bound of the mean over all clusters, with what the candidate lost in them.

    That is the bound of those answered, less what the lost cases take of the sum of all.
    """
    loss = 0.0
    for cluster in clusters:
        if cluster.lost:
            gain = cluster.mean(asked.gain) if cluster.questions else 0.0
            lowered = cluster.mean_with_lost(asked.gain, lambda result: asked.loss(result, worst))
            loss += max(0.0, gain - lowered)
    return (bound * len(answered_of(clusters)) - loss) / len(clusters)


def _lacking(metric: str, *, failed: int, missing: int) -> str:
    """Return what the candidate did, with so many cases, in words that `of N cases` can follow."""
    if not missing:
        return f"failed {failed}"
    return f"failed {failed} and has no {metric} in {missing}" if failed else f"has no {metric} in {missing}"


def impossible(clusters: int, needed: int, *, questions: int) -> str:
    """Return that so many clusters show no such gain, whatever the candidate answers; "" where they can.

    `needed` is how many like them it takes for a candidate with every answer right: 0 where no number would do.
    """
    if needed == 0:
        return "; the baseline leaves no such gain, whatever the candidate answers and however many cases there are"
    if needed <= clusters:
        return ""
    alone = clusters == questions
    counted = f"{questions} questions" if alone else f"{questions} questions in {clusters} clusters"
    could = f"{needed} like them" if alone else f"{needed} clusters like them"
    of_others = "" if alone else " of others (users, or what else `cluster_by` names)"
    return (
        f"; {counted} cannot show that at this level, whatever the candidate answers, and {could} could: add "
        f"cases{of_others} (on new ones the next candidate is the first)"
    )


def _questions(clusters: Sequence[Cluster]) -> int:
    return sum(len(each.questions) for each in clusters)


def _nobodys(result: CaseResult) -> bool:
    """Whether the pair is missing though neither side failed."""
    return not result.answered and not result.baseline.failed and not result.candidate.failed
