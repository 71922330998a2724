"""Evaluations that judges score: by hand and by gates, and what ends them."""

import pytest

from services.evaluator.tests.builders import ADA, TUNED
from services.evaluator.tests.harness import Evaluator
from services.evaluator.tests.judges.harness import GRADER, Judging, material_of, pairwise, points, prefers
from tidemill_core.errors import DependencyUnavailable, InvalidInput
from tidemill_evaluator.errors import JudgeNotFound, NoVerdict
from tidemill_evaluator.evaluations.domain.comparison import Comparison, Verdict
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.domain.job import State
from tidemill_evaluator.gates.domain.gate import Requirement
from tidemill_evaluator.judges.domain.form import Form
from tidemill_evaluator.judges.domain.judge import Judge
from tidemill_evaluator.judges.ports import JudgeDeployment


async def evaluator_with(judging: Judging, judge: Judge | None = None) -> Evaluator:
    """Return an evaluator whose candidate has all answers right, with a judge."""
    await judging.with_judge(judge)
    evaluator = Evaluator(families=[judging.metrics])
    await evaluator.with_suite()
    evaluator.candidate_is_right()
    return evaluator


def likes_numbers(form: Form) -> str:
    return points(5 if material_of(form)["answer"] == "yes" or "it is number" in form.material else 1)


def by_metric(evaluation: Evaluation, metric: str) -> Comparison:
    return next(each for each in evaluation.comparisons if each.metric == metric)


async def test_a_judge_that_is_named_scores_both_sides_and_the_evaluation_says_which_version_did() -> None:
    judging = Judging()
    judging.models.says = likes_numbers
    evaluator = await evaluator_with(judging)

    done = await evaluator.finish(await evaluator.by_hand(metrics=["judge:tone"]))

    found = by_metric(done, "judge:tone")
    assert (found.baseline, found.candidate, found.difference, found.cases) == (0.0, 1.0, 1.0, 3)
    assert done.message.startswith("judge:tone is by tone@1-")
    assert len(judging.models.forms) == 6


async def test_an_evaluation_that_names_no_judge_asks_none() -> None:
    judging = Judging()
    evaluator = await evaluator_with(judging)

    done = await evaluator.finish(await evaluator.by_hand())

    assert (done.state, done.message, judging.models.forms) == (State.COMPLETED, "", [])


async def test_a_pair_is_won_or_lost_and_the_evaluation_shows_how_often_the_order_decided() -> None:
    judging = Judging()
    evaluator = await evaluator_with(judging, pairwise())
    judging.models.says = lambda form: prefers(next(text for text in answers(form) if "number" in text))(form)

    done = await evaluator.finish(await evaluator.by_hand(metrics=["judge:better"]))

    found, bias = (by_metric(done, f"judge:better{suffix}") for suffix in ("", ":position_bias"))
    assert (found.baseline, found.candidate, found.low) == (0.5, 1.0, 0.5)
    assert (bias.candidate, bias.less_is_better) == (0.0, True)


async def test_a_gate_is_decided_by_a_judge_that_was_measured_and_by_no_other_version_of_it() -> None:
    judging = Judging()
    evaluator = await evaluator_with(judging)
    with pytest.raises(NoVerdict, match="before its agreement with people is measured"):
        await evaluator.with_gate(Requirement(suite="truth", metric="judge:tone"))
    judging.review(*(1.0, 0.0) * 20)
    await judging.measured()
    judging.models.says = likes_numbers
    await evaluator.with_gate(Requirement(suite="truth", metric="judge:tone"))
    await evaluator.register()

    passed = await evaluator.finish()
    judging.models.deployments["acme", "grader"] = JudgeDeployment(
        configuration="g2", model="grader@2", deadline_s=30.0
    )
    await evaluator.register("lora@2")
    evaluator.models.versions["lora@2"] = evaluator.models.versions[TUNED]
    refused = await evaluator.finish(next(each for each in await evaluator.all() if each.state is State.QUEUED))

    assert passed.verdict is Verdict.PASSED
    assert (refused.state, refused.reason) == (State.FAILED, "JUDGE_UNMEASURED")
    assert refused.message.endswith("; then start another evaluation")
    assert await evaluator.gate_crud.measuring(ADA, "judge:tone") == ["gate"]
    assert await evaluator.gate_crud.measuring(ADA, "judge:better") == []


def answers(form: Form) -> list[str]:
    """Return both answers in a form."""
    found = material_of(form)["answers"]
    assert isinstance(found, dict)
    return [*found.values()]


async def test_gates_and_evaluations_name_judges_that_the_project_has() -> None:
    judging = Judging()
    evaluator = await evaluator_with(judging)

    with pytest.raises(JudgeNotFound, match="judge other does not exist"):
        await evaluator.by_hand(metrics=["judge:other"])
    with pytest.raises(JudgeNotFound):
        await evaluator.with_gate(Requirement(suite="truth", metric="judge:other"))
    with pytest.raises(InvalidInput, match=r"'judge:' is not a metric: use one of .*judge:NAME"):
        await evaluator.by_hand(metrics=["judge:"])


async def test_a_judge_that_answers_nonsense_ends_the_evaluation_before_all_is_asked() -> None:
    judging = Judging()
    evaluator = await evaluator_with(judging)
    judging.models.says = lambda _: "I would say 5."

    done = await evaluator.finish(await evaluator.by_hand(metrics=["judge:tone"]))

    assert (done.state, done.reason) == (State.FAILED, "JUDGE_UNRELIABLE")
    assert "2 of 3 cases of suite:truth@1 have no judge:tone; the limit is 40%" in done.message
    assert len(judging.models.forms) <= 12


async def test_a_judge_that_changes_while_it_judges_ends_the_evaluation() -> None:
    judging = Judging()
    evaluator = await evaluator_with(judging)
    changed = JudgeDeployment(configuration="g2", model=GRADER.model, deadline_s=30.0)

    def said(form: Form) -> str:
        if len(judging.models.forms) == 3:
            judging.models.deployments["acme", "grader"] = changed
        return likes_numbers(form)

    judging.models.says = said
    done = await evaluator.finish(await evaluator.by_hand(metrics=["judge:tone"]))

    assert (done.state, done.reason) == (State.FAILED, "JUDGE_CHANGED")
    assert done.message.endswith("; the next attempt is queued")
    (following,) = [each for each in await evaluator.all() if each.state is State.QUEUED]
    assert (await evaluator.finish(following)).state is State.COMPLETED


async def test_a_judge_of_the_candidates_model_is_refused_before_anything_is_asked() -> None:
    judging = Judging()
    evaluator = await evaluator_with(judging)
    judging.models.deployments["acme", "grader"] = JudgeDeployment(configuration="g1", model=TUNED, deadline_s=30.0)

    done = await evaluator.finish(await evaluator.by_hand(metrics=["judge:tone"]))

    assert (done.state, done.reason, evaluator.inference.asked) == (State.FAILED, "JUDGES_ITSELF", [])


async def test_an_evaluation_waits_for_a_judge_that_is_unavailable_for_all_and_goes_on() -> None:
    judging = Judging()
    judging.models.says = likes_numbers
    evaluator = await evaluator_with(judging)
    judging.models.fails = [DependencyUnavailable("no answer", dependency="inference") for _ in range(30)]
    started = await evaluator.by_hand(metrics=["judge:tone"])

    waiting = await evaluator.finish(started)
    judging.models.fails = []
    done = await evaluator.finish(started)

    assert (waiting.state, waiting.message) == (State.RUNNING, "waits for inference: no answer")
    assert (done.state, by_metric(done, "judge:tone").candidate) == (State.COMPLETED, 1.0)
