"""What a re-evaluation compares with, and that it says nothing of what it could not compare."""

from dataclasses import replace

import pytest

from services.evaluator.tests.builders import ADA, cases, write
from services.evaluator.tests.evaluations.test_reevaluations import LIVE, WEEK, again, scheduled, scheduled_prompt
from services.evaluator.tests.harness import TRUTH, Evaluator
from tidemill_core.application import PageRequest, Request
from tidemill_evaluator.errors import NOT_COMPARABLE
from tidemill_evaluator.evaluations import queue_reevaluation
from tidemill_evaluator.evaluations.domain.comparison import Verdict
from tidemill_evaluator.evaluations.domain.job import State
from tidemill_evaluator.gates.domain.gate import Gate, Requirement
from tidemill_evaluator.suites.domain.suite import Suite

REFUSAL = Requirement(suite="truth", metric="refusal")
NOT_PASSED = "what is live has not passed it"


async def requiring(*require: Requirement) -> Evaluator:
    """Return an evaluator whose gate requires this since it was passed."""
    evaluator = await scheduled()
    gate = await evaluator.gates.get("acme", "gate")
    await evaluator.gate_crud.update(ADA, replace(gate, require=require), frozenset({"require"}), write("require"))
    return evaluator


async def one_case_left(evaluator: Evaluator) -> None:
    first, *others = cases(3)
    changed = [first, *(replace(each, reference="other") for each in others)]
    given = Suite(id="truth", project="acme")
    await evaluator.suite_crud.update(ADA, given, changed, frozenset({"cases"}), write("edited"))


def answers(evaluator: Evaluator, text: str) -> None:
    for case in cases(3):
        evaluator.inference.says["", case.question] = text


async def passed_over(evaluator: Evaluator) -> str:
    """Return why nothing is evaluated again after a week."""
    before = len(await evaluator.all())
    evaluator.pass_time(WEEK.total_seconds())
    await evaluator.queue_reevaluation(ADA, "gate")
    assert len(await evaluator.all()) == before
    return evaluator.passed_over[-1][1]


async def test_a_requirement_that_was_added_since_is_not_said_to_be_no_worse() -> None:
    evaluator = await requiring(TRUTH, REFUSAL)

    done = await again(evaluator)

    assert (done.state, done.reason, done.verdict) == (State.FAILED, NOT_COMPARABLE, None)
    assert "refusal on suite:truth@1 is not decided: 0 questions in 0 clusters are compared; 2 are" in done.message
    assert "rouge_l" not in done.message


async def test_what_got_worse_is_said_so_beside_what_cannot_be_decided() -> None:
    evaluator = await requiring(TRUTH, REFUSAL)
    answers(evaluator, "nonsense")

    done = await again(evaluator)

    assert done.verdict is Verdict.WORSE
    assert [each.metric for each in done.comparisons if not each.holds] == ["rouge_l"]


async def test_too_few_questions_that_are_left_are_not_said_to_be_no_worse() -> None:
    evaluator = await requiring(TRUTH)
    await one_case_left(evaluator)
    answers(evaluator, "nonsense")

    done = await again(evaluator)

    assert (done.state, done.reason) == (State.FAILED, NOT_COMPARABLE)
    assert "rouge_l on suite:truth@2 is not decided: 1 questions" in done.message


async def test_an_answer_that_fails_is_no_loss_where_too_few_questions_are_left() -> None:
    evaluator = await requiring(TRUTH)
    await one_case_left(evaluator)
    evaluator.inference.answers_by[""] = "fallback@1"

    done = await again(evaluator)

    assert (done.state, done.reason) == (State.FAILED, NOT_COMPARABLE)


@pytest.mark.parametrize("had_one", [True, False])
async def test_a_pass_in_another_deployment_is_nothing_to_compare_with(*, had_one: bool) -> None:
    evaluator = await scheduled()
    if had_one:
        await again(evaluator)
    evaluator.inference.deployments["acme", "other"] = replace(LIVE, digest="other")
    gate = await evaluator.gates.get("acme", "gate")
    await evaluator.gate_crud.update(ADA, replace(gate, deployment="other"), frozenset({"deployment"}), write("moved"))

    assert await passed_over(evaluator) == NOT_PASSED


@pytest.mark.parametrize("had_one", [True, False])
async def test_a_prompt_made_anew_under_its_name_has_not_passed(*, had_one: bool) -> None:
    evaluator = await scheduled_prompt()
    if had_one:
        await again(evaluator)
    versions = evaluator.inference.prompts["answer"]
    evaluator.inference.prompts["answer"] = replace(versions, digests={1: "a", 2: "another"})

    assert await passed_over(evaluator) == NOT_PASSED


async def test_a_prompt_that_is_gone_has_not_passed() -> None:
    evaluator = await scheduled_prompt()
    del evaluator.inference.prompts["answer"]

    assert await passed_over(evaluator) == NOT_PASSED


async def test_a_pass_is_found_behind_all_reevaluations_since(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator = await scheduled()
    first = await again(evaluator)
    monkeypatch.setattr(queue_reevaluation, "_LATEST", PageRequest(size=1, newest_first=True))

    def another_was_live_meanwhile(gate: Gate) -> None:
        gate.last_reevaluation = ""

    await evaluator.gates.update("acme", "gate", another_was_live_meanwhile, request=Request.internal())
    evaluator.pass_time(WEEK.total_seconds())

    await evaluator.queue_reevaluation(ADA, "gate")

    gate = await evaluator.gates.get("acme", "gate")
    queued = await evaluator.evaluations.get("acme", gate.last_reevaluation)
    assert queued.comparing.reevaluates == first.comparing.reevaluates
