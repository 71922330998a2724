"""The same cases are answered by all variants, once, whatever happens meanwhile."""

from dataclasses import replace

import pytest

from services.evaluator.tests.builders import ADA, TUNED, cases, passage, request
from services.evaluator.tests.prompt_tests.harness import LARGER, LIVE, NEW, PromptTester, measure, named_by
from tidemill_core.application import Requeue
from tidemill_core.errors import DependencyUnavailable, InvalidInput
from tidemill_evaluator.errors import EvaluationNotFound
from tidemill_evaluator.evaluations.domain.asked_by import PromptText, VariantSampling
from tidemill_evaluator.evaluations.domain.job import State
from tidemill_evaluator.evaluations.ports import Live, Question
from tidemill_evaluator.prompt_tests.domain.grid import PromptVariant
from tidemill_evaluator.suites.domain.cases import Case, Context

SALES = PromptVariant(name="sales", deployment="sales")
UNSAVED = PromptVariant(
    name="draft",
    deployment="helpdesk",
    unsaved=PromptText(user="short: {{ question }}", system="Be brief."),
    sampling=VariantSampling(temperature=0.2),
)


async def test_each_variant_has_means_and_its_difference_from_the_first() -> None:
    tester = PromptTester()
    await tester.with_suite()
    tester.is_right("helpdesk", 1)
    tester.is_right("answer@3", 1, 2, 3)

    done = await tester.finish(await tester.begun(LIVE, NEW, UNSAVED))

    assert (done.state, done.answered, done.cells) == (State.COMPLETED, 9, 9)
    first, second = measure(done, 0, "rouge_l"), measure(done, 1, "rouge_l")
    assert first.mean == pytest.approx(1 / 3)
    assert (first.low, first.high) == (0.0, 1.0)
    assert (first.pairs, first.difference, first.difference_low) == (0, None, None)
    assert (second.mean, second.observations, second.pairs) == (1.0, 3, 3)
    assert second.difference == pytest.approx(2 / 3)
    assert (second.difference_low, second.difference_high) == (0.0, 1.0)
    assert measure(done, 0, "output_tokens").less_is_better
    assert measure(done, 0, "input_tokens").mean == 3.0
    assert [(each.answered, each.failures, each.failure) for each in done.figures] == [(3, 0, "")] * 3
    asked = [each for each in tester.inference.asked if each.unsaved]
    assert {each.unsaved for each in asked} == {UNSAVED.unsaved}
    assert {each.sampling for each in asked} == {UNSAVED.sampling}


async def test_questions_of_the_request_are_asked_with_their_context() -> None:
    tester = PromptTester()
    case = Case(id="1", question="what is it?", reference="", context=Context(variables={"tone": "dry"}))

    done = await tester.finish(await tester.begun(LIVE, LARGER, suite="", questions=(case,)))

    assert (done.state, done.cells, done.suite) == (State.COMPLETED, 2, "")
    assert [dict(each.context.variables) for each in tester.inference.asked] == [{"tone": "dry"}] * 2
    assert [each.variant for each in tester.inference.asked] == ["", TUNED]
    assert "rouge_l" not in [each.metric for each in done.figures[0].measures], "there is no reference"
    assert (measure(done, 1, "output_tokens").low, measure(done, 1, "output_tokens").pairs) == (None, 1)


async def test_variants_of_a_deployment_answer_on_the_same_passages() -> None:
    tester = PromptTester()
    await tester.with_suite()
    tester.inference.finds = (passage(),)

    done = await tester.finish(await tester.begun(LIVE, NEW, SALES))

    given = {(named_by(each), len(each.passages)) for each in tester.inference.asked}
    assert given == {("helpdesk", 0), ("answer@3", 1), ("sales", 0)}, "another deployment searches for itself"
    (kept, _) = tester.results.stored["acme", done.id, "c1"]
    assert [each.document for each in kept.rests_on] == ["doc"]
    assert "each number is different" not in repr(kept), "passages are not stored"


async def test_a_failed_answer_has_the_worst_value_and_is_counted_with_its_reason() -> None:
    tester = PromptTester()
    await tester.with_suite()
    tester.is_right("helpdesk", 1, 2, 3)
    tester.is_right("answer@3", 1, 2)
    tester.inference.says["answer@3", cases(3)[2].question] = InvalidInput.at(field="content.user", text="secret text")

    done = await tester.finish(await tester.begun(metrics=("refusal",)))

    assert (done.figures[1].answered, done.figures[1].failures) == (2, 1)
    assert done.figures[1].failure == "INVALID_INPUT"
    assert measure(done, 1, "rouge_l").mean == pytest.approx(2 / 3)
    assert measure(done, 1, "refusal").mean == pytest.approx(1 / 3), "less of it is better: the worst value is 1"
    assert measure(done, 1, "output_tokens").observations == 2, "nothing is known of what it would have been"
    assert "secret" not in repr(done)


async def test_repeats_of_a_question_are_one_observation() -> None:
    tester = PromptTester()
    one, two, _ = cases(3)
    await tester.with_suite(
        one, replace(two, question=one.question.upper(), reference=one.reference), replace(two, id="c3")
    )
    tester.inference.says["helpdesk", two.question] = two.reference

    done = await tester.finish(await tester.begun(LIVE))

    assert measure(done, 0, "token_f1").observations == 2


async def test_it_fails_when_nothing_was_answered() -> None:
    tester = PromptTester()
    await tester.with_suite()
    for case in cases(3):
        tester.inference.says["answer@3", case.question] = InvalidInput.at(field="prompt", text="fails")

    done = await tester.finish(await tester.begun(NEW))

    assert (done.state, done.reason) == (State.FAILED, "TOO_FEW_ANSWERS")
    assert "none of 3 cases was answered by a variant: INVALID_INPUT" in done.message


async def test_another_model_than_asked_for_is_no_answer() -> None:
    tester = PromptTester()
    await tester.with_suite()
    tester.inference.changes = {"model": TUNED}

    done = await tester.finish(await tester.begun(LIVE, LARGER))

    assert (done.figures[0].failure, done.figures[0].failures) == ("OTHER_MODEL", 3)
    assert done.figures[1].answered == 3


async def test_a_worker_that_resumes_asks_only_for_the_rest() -> None:
    tester = PromptTester()
    await tester.with_suite()
    last = cases(3)[2].question
    tester.inference.says["answer@3", last] = DependencyUnavailable("no answer", dependency="inference")
    begun = await tester.begun()

    assert await tester.work(begun) == Requeue()
    waiting = await tester.tests.get("acme", begun.id)
    del tester.inference.says["answer@3", last]
    done = await tester.finish(begun, epoch=2)

    assert (waiting.state, waiting.message) == (State.RUNNING, "waits for inference: no answer")
    assert done.state is State.COMPLETED
    asked = [(named_by(each), each.text) for each in tester.inference.asked]
    assert len(asked) == len(set(asked)) == 6, "inference had the record of what a worker had asked"


async def test_progress_is_counted_in_answers() -> None:
    tester = PromptTester()
    await tester.with_suite()
    begun, seen = await tester.begun(), list[tuple[int, float | None]]()

    async def later(_question: Question) -> None:
        tester.pass_time(2.0)
        found = await tester.tests.get("acme", begun.id)
        seen.append((found.answered, found.remaining_s))

    tester.inference.before = later
    await tester.finish(begun)

    assert seen[0] == (0, None)
    assert 0 < seen[-1][0] < 6
    assert seen[-1][1] is not None


async def test_a_changed_deployment_ends_it() -> None:
    tester = PromptTester()
    await tester.with_suite()

    async def change(question: Question) -> None:
        if question.text == cases(3)[2].question:
            tester.inference.deployments["acme", "helpdesk"] = Live(digest="other", model="x@1", deadline_s=60)

    tester.inference.before = change
    done = await tester.finish(await tester.begun(LIVE))

    assert (done.state, done.reason) == (State.FAILED, "DEPLOYMENT_CHANGED")


async def test_a_deployment_that_was_changed_and_changed_back_ends_it() -> None:
    tester = PromptTester()
    await tester.with_suite()

    async def change(question: Question) -> None:
        other = question.text == cases(3)[2].question
        tester.inference.changes = {"configuration": "other"} if other else {}

    tester.inference.before = change
    done = await tester.finish(await tester.begun(LIVE))

    assert (done.state, done.reason) == (State.FAILED, "DEPLOYMENT_CHANGED")
    assert "variant live was answered by several configurations" in done.message


async def test_a_deleted_deployment_or_suite_ends_it() -> None:
    tester = PromptTester()
    await tester.with_suite()
    without_suite, without_deployment = await tester.begun(LIVE), await tester.begun(SALES)

    tester.suites.remove("acme", "truth")
    first = await tester.finish(without_suite)
    del tester.inference.deployments["acme", "sales"]
    second = await tester.finish(without_deployment)

    assert (first.state, first.reason) == (State.FAILED, "NO_CASES")
    assert (second.state, second.reason) == (State.FAILED, "DEPLOYMENT_UNAVAILABLE")


async def test_a_cancelled_test_stores_nothing_more() -> None:
    tester = PromptTester()
    await tester.with_suite()
    begun = await tester.begun()

    async def cancel(_question: Question) -> None:
        await tester.crud.cancel(ADA, begun.id, request=request("c"))

    tester.inference.before = cancel
    done = await tester.finish(begun)

    assert (done.state, done.reason, tester.results.stored) == (State.CANCELLED, "CANCELLED", {})
    assert not done.pending


async def test_a_test_that_was_erased_meanwhile_stores_nothing() -> None:
    tester = PromptTester()
    await tester.with_suite()
    begun = await tester.begun()

    async def erase(_question: Question) -> None:
        tester.tests.remove("acme", begun.id)

    tester.inference.before = erase
    assert await tester.work(begun) is None

    assert not tester.results.stored
    with pytest.raises(EvaluationNotFound):
        await tester.tests.get("acme", begun.id)
