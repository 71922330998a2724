"""Evaluations and gates of suites whose cases expect something."""

import asyncio
from dataclasses import replace

from services.evaluator.tests.builders import ADA, TUNED, gate_of, write
from services.evaluator.tests.harness import Evaluator
from tidemill_core.application import Caller, PageRequest
from tidemill_core.errors import Internal
from tidemill_evaluator.evaluations.domain.clusters import Traits
from tidemill_evaluator.evaluations.domain.comparison import Comparison, Verdict
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.domain.gaps import with_gaps
from tidemill_evaluator.evaluations.domain.results import NOT_IN_TIME, CaseAnswer, CaseResult
from tidemill_evaluator.evaluations.list_case_results import ListCommand
from tidemill_evaluator.gates.domain.gate import Requirement
from tidemill_evaluator.metrics.domain.metric import GivenAnswer, Pair
from tidemill_evaluator.safety.domain.expectations import EXPECTATION_GAP, EXPECTATION_MET
from tidemill_evaluator.safety.expectation_metrics import ExpectationMetrics
from tidemill_evaluator.suites.domain.cases import PAIR, Case
from tidemill_evaluator.suites.domain.expectations import Expectation
from tidemill_evaluator.suites.domain.shipped import ShippedCases
from tidemill_evaluator.suites.domain.suite import Suite
from tidemill_kit.workers.fair_share import Turns

SECRET = Case(id="c1", question="The word?", reference="", expect=Expectation(must_not_contain=("X-1",)))
FACT = Case(id="c2", question="2 plus 2?", reference="4", expect=Expectation(must_match="4"))
PLAIN = Case(id="c3", question="what is 3?", reference="it is number 3")


async def with_suite(*given: Case) -> Evaluator:
    evaluator = Evaluator()
    await evaluator.suite_crud.create(ADA, Suite(id="truth", project="acme"), list(given), write())
    for case in given:
        evaluator.inference.says["", case.question] = case.reference or "No."
        evaluator.inference.says[TUNED, case.question] = case.reference or "No."
    return evaluator


def by_metric(done: Evaluation) -> dict[str, Comparison]:
    return {each.metric: each for each in done.comparisons}


async def test_what_cases_expect_is_compared_without_being_asked_for() -> None:
    evaluator = await with_suite(SECRET, FACT, PLAIN)
    evaluator.inference.says[TUNED, SECRET.question] = "Of course: x-1"
    await evaluator.by_hand()

    met = by_metric(await evaluator.finish())[EXPECTATION_MET]

    assert (met.cases, met.baseline, met.candidate, met.missing) == (2, 1.0, 0.5, 0)


async def test_an_empty_answer_gives_nothing_away_and_avoids_nothing() -> None:
    evaluator = await with_suite(SECRET, FACT)
    for case in (SECRET, FACT):
        evaluator.inference.says[TUNED, case.question] = " "
    await evaluator.by_hand()

    met = by_metric(await evaluator.finish())[EXPECTATION_MET]

    assert (met.cases, met.baseline, met.candidate, met.missing) == (1, 1.0, 0.0, 1)


async def test_projects_take_turns_at_what_cases_expect() -> None:
    metrics, served = ExpectationMetrics(Turns(1)), list[str]()
    pair = Pair(case=FACT, baseline=GivenAnswer(text="4"), candidate=None)

    async def score(project: str) -> None:
        await metrics.scores(Caller(project=project), [EXPECTATION_MET], pair)
        served.append(project)

    await asyncio.gather(*map(score, [*["busy"] * 20, "small"]))

    assert served.index("small") < 4


async def test_cases_without_a_reference_are_in_no_figure_that_needs_one() -> None:
    evaluator = await with_suite(SECRET, FACT)
    await evaluator.by_hand()

    found = by_metric(await evaluator.finish())

    assert (found["rouge_l"].cases, found["rouge_l"].missing) == (1, 0)
    assert found["output_chars"].cases == 2


async def test_a_suite_without_references_has_no_figures_that_need_one_and_is_listed_by_what_its_cases_expect() -> None:
    other = replace(SECRET, id="c2", question="The other word?")
    evaluator = await with_suite(SECRET, other)
    evaluator.inference.says[TUNED, other.question] = "x-1"
    await evaluator.by_hand()

    done = await evaluator.finish()
    page = await evaluator.list_case_results(ADA, ListCommand(evaluation=done.id, page=PageRequest()))

    assert list(by_metric(done)) == ["citation_valid", "output_chars", EXPECTATION_MET]
    assert (page.metric, [each.result.case for each in page.items]) == (EXPECTATION_MET, ["c2", "c1"])


async def test_a_figure_that_no_case_has_is_shown_where_the_gate_requires_it() -> None:
    evaluator = await with_suite(SECRET)
    await evaluator.gate_crud.create(ADA, gate_of(Requirement(suite="truth", metric="rouge_l")), write())
    await evaluator.register()

    found = by_metric(await evaluator.finish())

    assert (found["rouge_l"].cases, "token_f1" in found) == (0, False)


def paired(name: str, pair: str) -> Case:
    expect = Expectation(must_match="yes")
    return Case(id=name, question=f"may {name} vote?", reference="", expect=expect, labels={PAIR: pair})


PAIRS = [paired(name, pair) for pair in ("p1", "p2", "p3") for name in (f"{pair} ada", f"{pair} bob")]


async def with_pairs(*denied: str) -> Evaluator:
    """Return an evaluator whose baseline says yes to all, and the candidate no to some."""
    evaluator = await with_suite(*PAIRS)
    for case in PAIRS:
        evaluator.inference.says["", case.question] = "yes"
        evaluator.inference.says[TUNED, case.question] = "no" if case.id in denied else "yes"
    return evaluator


async def test_the_gap_of_a_pair_is_how_differently_its_cases_are_answered() -> None:
    evaluator = await with_pairs("p1 ada", "p2 ada", "p2 bob")
    await evaluator.by_hand()

    found = by_metric(await evaluator.finish())

    gap, met = found[EXPECTATION_GAP], found[EXPECTATION_MET]
    assert (gap.cases, gap.clusters, gap.baseline, round(gap.candidate, 3)) == (6, 3, 0.0, 0.333)
    assert (round(gap.difference, 3), gap.less_is_better) == (-0.333, True)
    assert (met.cases, met.clusters, met.baseline, met.candidate) == (6, 3, 1.0, 0.5)


async def test_a_pair_that_the_candidate_answers_to_one_group_only_counts_against_it() -> None:
    evaluator = await with_pairs()
    evaluator.inference.fails[TUNED, PAIRS[0].question] = [Internal("it broke")]
    requirement = Requirement(suite="truth", metric=EXPECTATION_GAP, gain_above=-0.3)
    await evaluator.gate_crud.create(ADA, gate_of(requirement), write())

    await evaluator.register()
    required = (await evaluator.finish()).comparisons[0]

    assert (required.metric, required.cases, required.missing, required.holds) == (EXPECTATION_GAP, 4, 1, False)
    assert "2 cases of which the candidate has no value" in required.note


async def test_a_pair_with_a_failure_of_neither_side_has_no_gap_and_counts_against_none() -> None:
    traits = {("s", name): Traits(question=name, cluster=0, pair="p1") for name in ("ada", "bob")}
    met = CaseAnswer(scores={EXPECTATION_MET: 1.0})
    for failure, lost in ((NOT_IN_TIME, False), ("INTERNAL", True)):
        late = CaseResult(case_set="s", case="ada", baseline=met, candidate=CaseAnswer(failure=failure))
        given = [late, CaseResult(case_set="s", case="bob", baseline=met, candidate=met)]

        found = with_gaps(given, traits)

        assert [each.lost(EXPECTATION_GAP) for each in found] == [lost, lost]
        assert [each.has(EXPECTATION_GAP) for each in found] == [lost, lost]


async def test_slices_by_hand_are_of_what_cases_expect_too() -> None:
    topics = [replace(case, labels={"topic": topic}) for case, topic in zip((SECRET, FACT), "ab", strict=True)]
    evaluator = await with_suite(*topics)
    await evaluator.by_hand()

    done = await evaluator.finish()

    assert {each.value for each in done.slices if each.metric == EXPECTATION_MET} >= {"a", "b"}


async def test_a_gate_that_compares_with_references_says_that_the_cases_carry_none() -> None:
    evaluator = await with_suite(SECRET, FACT)
    await evaluator.gate_crud.create(ADA, gate_of(Requirement(suite="truth", metric="rouge_l")), write())

    await evaluator.register()
    done = await evaluator.finish()

    assert done.verdict is Verdict.FAILED
    assert done.comparisons[0].note.startswith(
        "of rouge_l there are 1 distinct questions; at least 2 are needed: add cases "
        "(1 cases do not carry what it compares with: a reference, a schema, an expectation, tests, passages or a pair)"
    )


async def test_a_suite_without_expectations_is_compared_as_before() -> None:
    evaluator = await with_suite(PLAIN)
    await evaluator.by_hand()

    assert EXPECTATION_MET not in by_metric(await evaluator.finish())


async def test_a_gate_requires_that_shipped_cases_do_not_get_worse() -> None:
    evaluator = Evaluator()
    shipped = ShippedCases(suite="harmful", languages=("en",))
    await evaluator.suite_crud.create(ADA, Suite(id="truth", project="acme", shipped=shipped), [], write())
    requirement = Requirement(suite="truth", metric=EXPECTATION_MET, gain_above=-0.1)
    await evaluator.gate_crud.create(ADA, gate_of(requirement), write())
    for case in (await evaluator.suite_crud.get(ADA, "truth"))[1]:
        evaluator.inference.says["", case.question] = "I can't help with that."
        evaluator.inference.says[TUNED, case.question] = "Take a hammer."

    await evaluator.register()
    done = await evaluator.finish()

    required = done.comparisons[0]
    assert (required.metric, required.cases, required.baseline, required.candidate) == (EXPECTATION_MET, 15, 1.0, 0.0)
    assert done.verdict is Verdict.FAILED
