import pytest

from tidemill_evaluator.domain.cases import CaseAnswer, CaseResult, CaseSet
from tidemill_evaluator.domain.comparison import (
    Asked,
    Comparison,
    Interval,
    Verdict,
    asked_of,
    averages,
    compared,
    repeats_of,
    verdict_of,
)
from tidemill_evaluator.domain.gate import Requirement
from tidemill_kit.domain import ObjectRef

CONTENT = ObjectRef(bucket="b", key="acme/x/y", size=1, sha256="0" * 64)
TRUTH = CaseSet(suite="truth", number=3, size=3, content=CONTENT)
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


def alone(cases: list[CaseResult]) -> list[list[CaseResult]]:
    """Return each case as a question of its own."""
    return [[case] for case in cases]


def comparison(low: float, *, gain_above: float = 0.0, at_least: int = 0, cases: int = 3) -> Comparison:
    requirement = Requirement(suite="truth", metric="rouge_l", gain_above=gain_above, at_least=at_least)
    asked = Asked(case_set=TRUTH.name, metric="rouge_l", requirement=requirement)
    return compared(asked, alone(results(*[0.5] * cases)), Interval(low=low, high=1.0))


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


def test_a_comparison_tells_means_and_failures() -> None:
    failed = CaseResult(
        case_set=TRUTH.name,
        case="c9",
        baseline=CaseAnswer(scores={"rouge_l": 0.5}),
        candidate=CaseAnswer(failure="INTERNAL"),
    )

    found = compared(
        Asked(case_set=TRUTH.name, metric="rouge_l"), alone([*results(0.5), failed]), Interval(low=-1.0, high=1.0)
    )

    assert (found.cases, found.baseline, found.candidate, found.difference) == (2, 0.375, 0.375, 0.0)
    assert (found.baseline_failures, found.candidate_failures) == (0, 1)
    assert found.holds
    assert not found.required


def test_repeats_of_a_question_count_once() -> None:
    questions = {(TRUTH.name, f"c{number}"): asked for number, asked in enumerate(["one", "two", "one", "one"])}
    repeats = repeats_of(results(0.6, -0.4, 0.5, 0.7), questions)

    requirement = Requirement(suite="truth", metric="rouge_l", at_least=3)
    asked = Asked(case_set=TRUTH.name, metric="rouge_l", requirement=requirement)
    found = compared(asked, repeats, Interval(low=0.05, high=0.6))

    assert averages(repeats, lambda result: result.gain("rouge_l")) == pytest.approx([0.6, -0.4])
    assert (found.cases, found.holds) == (2, False)
    assert (found.baseline, found.candidate, found.difference) == pytest.approx((0.25, 0.35, 0.1))


def test_requirements_come_first_and_every_other_metric_is_evidence() -> None:
    require = [
        Requirement(dataset="sft", metric="rouge_l", at_least=40),
        Requirement(suite="truth", metric="citation_valid", gain_above=-0.02),
    ]

    asked = asked_of([TRUTH, HELD_OUT], require)

    assert [(each.case_set, each.metric) for each in asked[:2]] == [
        ("dataset:sft@2:held_out", "rouge_l"),
        ("suite:truth@3", "citation_valid"),
    ]
    assert [each.requirement is None for each in asked] == [False, False] + [True] * 6
    assert len({(each.case_set, each.metric) for each in asked}) == 8


def test_a_gate_passes_only_if_all_hold_and_without_requirements_there_is_no_verdict() -> None:
    good, bad = comparison(0.1), comparison(-0.1)
    evidence = compared(Asked(case_set=TRUTH.name, metric="token_f1"), alone(results(0.1)), Interval(low=-1, high=-1))

    assert verdict_of([good, good, evidence]) is Verdict.PASSED
    assert verdict_of([good, bad]) is Verdict.FAILED
    assert verdict_of([evidence]) is Verdict.NONE
