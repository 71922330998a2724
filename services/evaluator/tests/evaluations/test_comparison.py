import pytest

from services.evaluator.tests.harness import registry
from tidemill_core.aggregate import ObjectRef
from tidemill_evaluator.evaluations.domain.clusters import Cluster, Traits, clusters_of
from tidemill_evaluator.evaluations.domain.comparison import (
    Asked,
    Comparison,
    Evidence,
    Interval,
    Latencies,
    Verdict,
    asked_of,
    compared,
    latencies_of,
    undecided,
    verdict_of,
)
from tidemill_evaluator.evaluations.domain.results import CaseAnswer, CaseResult
from tidemill_evaluator.gates.domain.gate import Requirement
from tidemill_evaluator.metrics.registry import ALWAYS
from tidemill_evaluator.suites.domain.cases import CaseSet

CONTENT = ObjectRef(bucket="b", key="acme/x/y", size=1, sha256="0" * 64)
TRUTH = CaseSet(suite="truth", number=3, size=3, content=CONTENT)
LITTLE = Evidence(min_questions=2)
HELD_OUT = CaseSet(dataset="sft", number=2, size=3, content=CONTENT)


def results(*differences: float) -> list[CaseResult]:
    return [
        CaseResult(
            case_set=TRUTH.name,
            case=f"c{number}",
            baseline=CaseAnswer(scores={"rouge_l": 0.25}),
            candidate=CaseAnswer(scores={"rouge_l": 0.25 + difference}),
        )
        for number, difference in enumerate(differences)
    ]


def alone(given: list[CaseResult], metric: str = "rouge_l") -> list[Cluster]:
    """Return each case as a separate question and cluster."""
    traits = {(each.case_set, each.case): Traits(question=each.case, cluster=n) for n, each in enumerate(given)}
    return clusters_of(given, traits, metric)


def failed(number: int, *, baseline: str = "", candidate: str = "") -> CaseResult:
    """Return a case that a side failed; the baseline scores 0.5 if it answered."""
    return CaseResult(
        case_set=TRUTH.name,
        case=f"f{number}",
        baseline=CaseAnswer(failure=baseline, scores={} if baseline else {"rouge_l": 0.5}),
        candidate=CaseAnswer(failure=candidate, scores={} if candidate else {"rouge_l": 1.0}),
    )


def judged(
    given: list[CaseResult], low: float, *, gain_above: float = 0.0, at_least: int = 0, evidence: Evidence = LITTLE
) -> Comparison:
    requirement = Requirement(suite="truth", metric="rouge_l", gain_above=gain_above, at_least=at_least)
    asked = Asked(case_set=TRUTH.name, metric="rouge_l", requirement=requirement)
    return compared(asked, given, alone(given), Interval(low=low, high=1.0), evidence=evidence)


def comparison(low: float, *, gain_above: float = 0.0, at_least: int = 0, cases: int = 3) -> Comparison:
    return judged(results(*[0.5] * cases), low, gain_above=gain_above, at_least=at_least)


@pytest.mark.parametrize(
    ("low", "gain_above", "holds"),
    [(0.01, 0.0, True), (0.0, 0.0, False), (-0.01, 0.0, False), (-0.01, -0.02, True), (-0.02, -0.02, False)],
)
def test_a_requirement_holds_when_the_lower_bound_is_above_it(low: float, gain_above: float, *, holds: bool) -> None:
    assert comparison(low, gain_above=gain_above).holds is holds


@pytest.mark.parametrize(("cases", "at_least", "holds"), [(3, 3, True), (3, 4, False), (1, 0, False), (2, 0, True)])
def test_a_requirement_needs_its_number_of_cases_and_never_holds_on_one(
    cases: int, at_least: int, *, holds: bool
) -> None:
    assert comparison(0.5, at_least=at_least, cases=cases).holds is holds


def test_a_requirement_needs_what_the_evaluator_always_asks_for_whatever_less_it_asks_itself() -> None:
    found = judged(results(*[0.5] * 9), 0.4, at_least=3, evidence=Evidence(min_questions=10))

    assert not found.holds
    assert found.note == "both sides answered 9 distinct questions; at least 10 are needed: add cases"


def test_means_difference_and_interval_are_of_the_same_pairs_and_failures_stand_apart() -> None:
    given = [*results(0.5, 0.25), failed(1, candidate="INTERNAL"), failed(2, baseline="DEADLINE_EXCEEDED")]

    found = judged(given, 0.3, evidence=Evidence(min_questions=2, max_unanswered=0.5))

    assert (found.cases, found.baseline, found.candidate, found.difference) == (2, 0.25, 0.625, 0.375)
    assert (found.unanswered, found.baseline_failures, found.candidate_failures, found.not_in_time) == (2, 0, 1, 1)


def test_what_the_candidate_failed_counts_against_it_and_what_the_baseline_failed_does_not_count_for_it() -> None:
    many = results(*[0.5] * 18)

    assert judged([*many, failed(1, baseline="INTERNAL")], 0.02).holds
    lost = judged([*many, failed(1, candidate="INTERNAL")], 0.02)

    assert not lost.holds
    assert lost.note == ("the lower bound with the 1 cases that the candidate failed is -0.0074; it must be above +0")


def test_a_candidate_that_fails_more_cases_than_may_be_does_not_hold_however_good_the_rest_is() -> None:
    given = [*results(*[0.5] * 17), *(failed(number, candidate="INTERNAL") for number in range(3))]

    found = judged(given, 0.4, gain_above=-1.0, evidence=Evidence(min_questions=2, max_unanswered=0.1))

    assert found.note == "the candidate failed 3 of 20 cases; the limit is 10%"
    assert undecided(given, 20, Evidence()) == ""


@pytest.mark.parametrize(
    ("baseline", "candidate"),
    [("INTERNAL", ""), ("INTERNAL", "INTERNAL"), ("DEADLINE_EXCEEDED", ""), ("", "DEADLINE_EXCEEDED")],
)
def test_where_a_machine_or_the_baseline_left_too_many_cases_unanswered_there_is_no_verdict(
    baseline: str, candidate: str
) -> None:
    lacking = [failed(number, baseline=baseline, candidate=candidate) for number in range(3)]

    assert undecided([*results(*[0.5] * 18), *lacking[:2]], 20, Evidence()) == ""
    assert "3 of its 20 cases lack an answer of both sides" in undecided(lacking, 20, Evidence())


def test_latencies_are_medians_of_pairs_that_were_answered_under_a_like_load() -> None:
    def timed(number: int, baseline: tuple[float, int], candidate: tuple[float, int]) -> CaseResult:
        one, other = (
            CaseAnswer(total_s=total_s, max_concurrent=max_concurrent)
            for total_s, max_concurrent in (baseline, candidate)
        )
        return CaseResult(case_set=TRUTH.name, case=f"c{number}", baseline=one, candidate=other)

    alike = [timed(1, (2.0, 8), (3.0, 8)), timed(2, (4.0, 10), (6.0, 8)), timed(3, (3.0, 4), (5.0, 4))]
    unlike = [timed(4, (0.1, 1), (9.0, 16)), failed(5, candidate="INTERNAL")]

    assert latencies_of([*alike, *unlike]) == Latencies(baseline_s=3.0, candidate_s=5.0)
    assert latencies_of(unlike) is None


def test_requirements_come_first_and_every_other_metric_is_evidence() -> None:
    require = [
        Requirement(dataset="sft", metric="rouge_l", at_least=40),
        Requirement(suite="truth", metric="citation_valid", gain_above=-0.02),
    ]

    scored = {TRUTH.name: ALWAYS, HELD_OUT.name: [*ALWAYS, "exact_match"]}
    asked = asked_of([TRUTH, HELD_OUT], require, registry().of, scored)

    assert [(each.case_set, each.metric) for each in asked[:2]] == [
        ("dataset:sft@2:held_out", "rouge_l"),
        ("suite:truth@3", "citation_valid"),
    ]
    assert [each.requirement is None for each in asked] == [False, False] + [True] * 7
    assert len({(each.case_set, each.metric) for each in asked}) == 9
    assert (asked[-1].case_set, asked[-1].metric) == (HELD_OUT.name, "exact_match")


def test_a_gate_passes_only_if_all_hold_and_without_requirements_there_is_no_verdict() -> None:
    good, bad = comparison(0.1), comparison(-0.1)
    one = results(0.1)
    asked = Asked(case_set=TRUTH.name, metric="token_f1")
    evidence = compared(asked, one, alone(one), Interval(low=-1, high=-1), evidence=LITTLE)

    assert verdict_of([good, good, evidence]) is Verdict.PASSED
    assert verdict_of([good, bad]) is Verdict.FAILED
    assert verdict_of([evidence]) is Verdict.NONE
