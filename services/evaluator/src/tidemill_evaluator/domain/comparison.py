"""From scores of single cases to a verdict."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import fmean

from tidemill_evaluator.domain.cases import CaseResult, CaseSet
from tidemill_evaluator.domain.gate import Requirement
from tidemill_evaluator.domain.metrics import METRICS

LEAST_PAIRS = 2
"""Fewer pairs say nothing about their spread: no requirement holds on them."""
Repeats = Sequence[CaseResult]
"""All results of one question, at least one."""


class Verdict(Enum):
    """What a gate says; NONE was not asked for."""

    PASSED = "passed"
    FAILED = "failed"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Bounds of a mean."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The paired difference of one metric on one set of cases; means of both sides, failures counted as 0.

    Repeats of one question tell little more than one of them, so their average counts once: `cases` are questions,
    while failures are counted each. Where the baseline failed, the difference is at most 0: `difference` may be less
    than the means are apart.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One comparison that is wanted; without a requirement it is evidence only."""

    case_set: str
    metric: str
    requirement: Requirement | None = None


def asked_of(case_sets: Sequence[CaseSet], require: Sequence[Requirement]) -> list[Asked]:
    """Return the comparisons to make: requirements first, then every other metric on every set of cases."""
    required = [
        Asked(case_set=_set_of(requirement, case_sets).name, metric=requirement.metric, requirement=requirement)
        for requirement in require
    ]
    known = {(asked.case_set, asked.metric) for asked in required}
    names = [case_set.name for case_set in case_sets]
    others = [Asked(case_set=name, metric=metric) for name in names for metric in METRICS]
    return required + [asked for asked in others if (asked.case_set, asked.metric) not in known]


def repeats_of(results: Sequence[CaseResult], questions: Mapping[tuple[str, str], str]) -> list[Repeats]:
    """Return the results by question, which (set, case) leads to."""
    found = defaultdict[str, list[CaseResult]](list)
    for result in results:
        found[questions[result.case_set, result.case]].append(result)
    return list(found.values())


def averages(questions: Sequence[Repeats], value: Callable[[CaseResult], float]) -> list[float]:
    """Return the average of each question."""
    return [fmean(map(value, repeats)) for repeats in questions]


def compared(asked: Asked, questions: Sequence[Repeats], interval: Interval) -> Comparison:
    """Return the comparison on the questions of its set of cases, of which there is at least one."""
    requirement, metric = asked.requirement, asked.metric
    results = [result for repeats in questions for result in repeats]
    enough = len(questions) >= max(LEAST_PAIRS, requirement.at_least if requirement else 0)
    return Comparison(
        case_set=asked.case_set,
        metric=metric,
        cases=len(questions),
        baseline=fmean(averages(questions, lambda result: result.baseline.scores.get(metric, 0.0))),
        candidate=fmean(averages(questions, lambda result: result.candidate.scores.get(metric, 0.0))),
        difference=fmean(averages(questions, lambda result: result.gain(metric))),
        low=interval.low,
        high=interval.high,
        required=requirement is not None,
        gain_above=requirement.gain_above if requirement else 0.0,
        at_least=requirement.at_least if requirement else 0,
        holds=requirement is None or (enough and interval.low > requirement.gain_above),
        baseline_failures=sum(bool(result.baseline.failure) for result in results),
        candidate_failures=sum(bool(result.candidate.failure) for result in results),
    )


def verdict_of(comparisons: Sequence[Comparison]) -> Verdict:
    """Return PASSED only if all requirements hold, and NONE where there are none."""
    required = [comparison for comparison in comparisons if comparison.required]
    if not required:
        return Verdict.NONE
    return Verdict.PASSED if all(comparison.holds for comparison in required) else Verdict.FAILED


def _set_of(requirement: Requirement, case_sets: Sequence[CaseSet]) -> CaseSet:
    return next(
        each
        for each in case_sets
        if (requirement.suite and each.suite == requirement.suite)
        or (requirement.dataset and each.dataset == requirement.dataset)
    )
