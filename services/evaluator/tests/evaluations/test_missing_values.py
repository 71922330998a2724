"""Values that are missing, and metrics of which less is better."""

import pytest

from services.evaluator.tests.evaluations.test_comparison import TRUTH, alone
from services.evaluator.tests.harness import registry
from tidemill_evaluator.evaluations.domain.clusters import answered_of, averages
from tidemill_evaluator.evaluations.domain.comparison import Asked, Comparison, Evidence, Interval, compared
from tidemill_evaluator.evaluations.domain.results import NOT_IN_TIME, CaseAnswer, CaseResult
from tidemill_evaluator.gates.domain.gate import Requirement
from tidemill_evaluator.metrics.domain.metric import Metric

REFUSED = Metric(name="refused", source="test", less_is_better=True)


def pairs(metric: str, *values: tuple[float | None, float | None]) -> list[CaseResult]:
    """Return cases with these values of baseline and candidate; None is missing."""

    def side(value: float | None) -> CaseAnswer:
        return CaseAnswer(missing=(metric,)) if value is None else CaseAnswer(scores={metric: value})

    return [
        CaseResult(case_set=TRUTH.name, case=f"c{number}", baseline=side(one), candidate=side(other))
        for number, (one, other) in enumerate(values)
    ]


def judged(metric: Metric, given: list[CaseResult], *, gain_above: float = 0.0, unanswered: float = 0.1) -> Comparison:
    """Return the comparison with the mean gain as lower bound."""
    requirement = Requirement(suite="truth", metric=metric.name, gain_above=gain_above)
    asked = Asked.by(metric, TRUTH.name, requirement)
    questions = alone(given, metric.name)
    gains = averages(answered_of(questions), asked.gain)
    low = sum(gains) / len(gains) if gains else -1.0
    return compared(
        asked,
        given,
        questions,
        Interval(low=low, high=1.0),
        evidence=Evidence(min_questions=2, max_unanswered=unanswered, min_clusters=2),
    )


def test_where_less_is_better_the_gain_is_what_the_candidate_needs_less() -> None:
    found = judged(registry().of("latency_s"), pairs("latency_s", (3.0, 1.0), (2.0, 2.0)))

    assert (found.baseline, found.candidate, found.difference, found.low) == (2.5, 1.5, 1.0, 1.0)
    assert (found.holds, found.less_is_better) == (True, True)
    assert not judged(registry().of("latency_s"), pairs("latency_s", (1.0, 3.0), (2.0, 2.0))).holds


@pytest.mark.parametrize(
    ("values", "note"),
    [
        (
            [(0.5, 1.0)] * 8 + [(1.0, None)] * 2,
            "the candidate has no exact_match in 2 of 10 cases; the limit is 10%",
        ),
        (
            [(0.5, 1.0)] * 8 + [(None, 1.0), (None, None)],
            "2 of 10 cases have no exact_match of the baseline, or of both sides; the limit is 10%",
        ),
        ([(None, 1.0)] * 10, "10 of 10 cases have no exact_match of the baseline, or of both sides; the limit is 10%"),
    ],
)
def test_values_that_are_missing_are_never_success(values: list[tuple[float | None, float | None]], note: str) -> None:
    found = judged(registry().of("exact_match"), pairs("exact_match", *values), gain_above=-1.0)

    assert (found.holds, found.note) == (False, note)


def test_a_missing_value_of_the_candidate_counts_as_the_worst_and_one_of_the_baseline_is_no_gain() -> None:
    exact = registry().of("exact_match")
    lost = judged(exact, pairs("exact_match", *[(0.5, 0.75)] * 4, (1.0, None)), unanswered=0.5)
    gained = judged(exact, pairs("exact_match", *[(0.5, 0.5)] * 4, (None, 1.0)), unanswered=0.5)

    assert (lost.cases, lost.missing, lost.holds) == (4, 1, False)
    assert (
        lost.note
        == "the lower bound with the 1 cases of which the candidate has no value is +0.0000; it must be above +0"
    )
    assert (gained.cases, gained.missing, gained.difference, gained.holds) == (4, 1, 0.0, False)


def test_the_worst_value_where_less_is_better_is_one_or_the_highest_that_there_is() -> None:
    refused = judged(REFUSED, pairs("refused", *[(0.5, 0.0)] * 4, (0.0, None)), gain_above=0.2, unanswered=0.5)
    late = judged(
        registry().of("latency_s"), pairs("latency_s", *[(2.0, 1.0)] * 3, (9.0, 8.0), (2.0, None)), unanswered=0.5
    )

    assert refused.note.endswith("is +0.2000; it must be above +0.2")  # (4 * 0.5 - 1) / 5
    assert late.note.endswith("is -0.6000; it must be above +0")  # (4 * 1 - 7) / 5


def test_a_case_without_a_value_comes_where_a_failure_of_that_side_would() -> None:
    lost, kept, gained = pairs("cost", (2.0, None), (2.0, 1.0), (None, 1.0))

    assert [each.difference("cost", less_is_better=True) for each in (lost, kept, gained)] == [-2.0, 1.0, 1.0]


def test_a_failed_case_that_the_metric_does_not_apply_to_changes_no_bound_and_no_share() -> None:
    exact = registry().of("exact_match")
    carried = pairs("exact_match", *[(1.0, 1.0)] * 8, (1.0, 0.0), (1.0, 0.0))
    others = [
        CaseResult(
            case_set=TRUTH.name,
            case=f"other{number}",
            baseline=CaseAnswer(scores={"output_chars": 1.0}),
            candidate=CaseAnswer(failure="MODEL_FAILED", scores={"output_chars": 0.0}),
        )
        for number in range(10)
    ]

    alone, beside = judged(exact, carried, gain_above=0.0), judged(exact, [*carried, *others], gain_above=0.0)

    assert alone.note == "the lower bound is -0.2000; it must be above +0"
    assert (beside.note, beside.clusters, beside.candidate_failures) == (alone.note, alone.clusters, 10)


def test_a_failure_where_the_baseline_has_no_value_is_no_evidence() -> None:
    failure = CaseAnswer(failure="MODEL_FAILED")
    for (kept,), lost in ((pairs("exact_match", (None, 1.0)), False), (pairs("exact_match", (1.0, 1.0)), True)):
        result = CaseResult(case_set=TRUTH.name, case="c2", baseline=kept.baseline, candidate=failure)
        assert result.lost("exact_match") is lost


def test_values_are_missing_by_their_share_of_the_cases_that_the_metric_applies_to() -> None:
    gained = [(0.0, 1.0)] * 8
    others = pairs("output_chars", *[(1.0, 1.0)] * 100)
    for values, note in (
        ((None, 1.0), "2 of 10 cases have no exact_match of the baseline, or of both sides; the limit is 10%"),
        ((1.0, None), "the candidate has no exact_match in 2 of 10 cases; the limit is 10%"),
    ):
        found = judged(registry().of("exact_match"), [*pairs("exact_match", *gained, values, values), *others])

        assert (found.holds, found.note) == (False, note)


def test_by_latency_an_answer_that_missed_the_deadline_took_that_long() -> None:
    given = pairs("latency_s", *[(2.0, 1.0)] * 19, (2.0, 1.0))
    late = CaseAnswer(failure=NOT_IN_TIME, total_s=60.0)
    given[0] = CaseResult(case_set=TRUTH.name, case="c0", baseline=given[0].baseline, candidate=late)

    found = judged(registry().of("latency_s"), given)

    assert found.note.endswith("is -1.9500; it must be above +0")  # (19 - 58) / 20
    assert not given[0].lost("output_tokens")
