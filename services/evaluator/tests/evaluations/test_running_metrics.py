"""Evaluations by metrics that are asked for."""

from dataclasses import replace

import pytest

from services.evaluator.tests.builders import ADA, TUNED, cases, write
from services.evaluator.tests.harness import Evaluator
from tidemill_core.application import PageRequest
from tidemill_core.errors import InvalidInput
from tidemill_evaluator.evaluations.domain.comparison import Verdict
from tidemill_evaluator.evaluations.list_case_results import ListCommand
from tidemill_evaluator.gates.domain.gate import Requirement
from tidemill_evaluator.suites.domain.suite import Suite


async def test_a_metric_that_is_asked_for_is_computed_beside_the_usual_ones_and_no_other() -> None:
    evaluator = Evaluator()
    await evaluator.with_suite()
    evaluator.candidate_is_right(2)

    done = await evaluator.finish(await evaluator.by_hand(metrics=["exact_match"]))

    found = {each.metric: each for each in done.comparisons}
    assert list(found) == ["rouge_l", "token_f1", "citation_valid", "output_chars", "exact_match"]
    assert [found["exact_match"].baseline, found["exact_match"].candidate] == pytest.approx([0, 2 / 3])


async def test_a_candidate_that_costs_less_passes_a_gate_that_asks_for_it() -> None:
    evaluator = Evaluator()
    await evaluator.with_suite()
    await evaluator.with_gate(Requirement(suite="truth", metric="cost"))
    evaluator.inference.costs = {"": 0.5, TUNED: 0.25}
    await evaluator.register()

    done = await evaluator.finish()

    cost = done.comparisons[0]
    assert done.verdict is Verdict.PASSED
    assert (cost.baseline, cost.candidate, cost.difference, cost.less_is_better) == (0.5, 0.25, 0.25, True)


async def test_answers_without_a_declared_price_pass_no_gate_and_say_so() -> None:
    evaluator = Evaluator()
    await evaluator.with_suite()
    await evaluator.with_gate(Requirement(suite="truth", metric="cost", gain_above=-1.0))
    evaluator.inference.costs = {"": 0.5}
    await evaluator.register()

    done = await evaluator.finish()

    assert done.verdict is Verdict.FAILED
    assert (done.comparisons[0].missing, done.comparisons[0].cases) == (3, 0)
    assert done.comparisons[0].note == "the candidate has no cost in 3 of 3 cases; the limit is 40%"


@pytest.mark.parametrize("cost", [float("nan"), float("-inf")])
async def test_a_value_that_is_no_finite_number_is_missing_and_passes_no_gate(cost: float) -> None:
    evaluator = Evaluator()
    await evaluator.with_suite()
    await evaluator.with_gate(Requirement(suite="truth", metric="cost"))
    evaluator.inference.costs = {"": 0.5, TUNED: cost}
    await evaluator.register()

    done = await evaluator.finish()

    assert (done.verdict, done.comparisons[0].missing) == (Verdict.FAILED, 3)


async def test_cases_are_listed_by_what_the_candidate_needs_less() -> None:
    evaluator = Evaluator()
    await evaluator.with_suite()
    evaluator.inference.costs = {"": 0.5, TUNED: 0.25}
    done = await evaluator.finish(await evaluator.by_hand(metrics=["cost"]))

    page = await evaluator.list_case_results(
        ADA, ListCommand(evaluation=done.id, page=PageRequest(), metric="cost", best_first=True)
    )

    assert [each.result.candidate.scores["cost"] for each in page.items] == [0.25] * 3
    assert [each.result.candidate.missing for each in page.items] == [()] * 3


@pytest.mark.parametrize(
    ("metrics", "says"),
    [
        (["blue"], "'blue' is not a metric: use one of rouge_l, token_f1"),
        (["rouge_l"] * 21, "has 21 metrics; the limit is 20"),
    ],
)
async def test_metrics_that_cannot_be_asked_for_are_refused(metrics: list[str], says: str) -> None:
    evaluator = Evaluator()
    await evaluator.with_suite()

    with pytest.raises(InvalidInput, match=says):
        await evaluator.by_hand(metrics=metrics)


async def test_answers_to_cases_with_a_schema_are_compared_by_it_though_no_request_asks_for_it() -> None:
    evaluator = Evaluator()
    schema: dict[str, object] = {"type": "object", "required": ["a"]}
    asked = [replace(case, reference="", schema=schema) for case in cases(2)]
    suite = Suite(id="truth", project="acme")
    await evaluator.suite_crud.create(ADA, suite, [*asked, cases(3)[2]], write())
    evaluator.inference.says[TUNED, asked[0].question] = '{"a": 1}'

    done = await evaluator.finish(await evaluator.by_hand())

    found = {each.metric: each for each in done.comparisons}
    schema_followed, rouge = found["json_schema"], found["rouge_l"]
    assert (schema_followed.cases, schema_followed.baseline, schema_followed.candidate) == (2, 0.0, 0.5)
    assert (rouge.cases, rouge.missing) == (1, 0)  # the others have no reference
