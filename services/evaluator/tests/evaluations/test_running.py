import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from services.evaluator.tests.builders import ADA, BASE, DIGEST, TUNED, cases, name_of, passage, write
from services.evaluator.tests.harness import TRUTH, Evaluator, away, ready
from tidemill_core.application import PageRequest
from tidemill_core.errors import (
    Blame,
    Conflict,
    DeadlineExceeded,
    DependencyUnavailable,
    Internal,
    RateLimited,
    TidemillError,
)
from tidemill_evaluator.evaluations.domain.comparison import Verdict
from tidemill_evaluator.evaluations.domain.evaluation import EvaluationHasCompleted, EvaluationHasStarted
from tidemill_evaluator.evaluations.domain.job import State
from tidemill_evaluator.evaluations.list_case_results import ListCommand
from tidemill_evaluator.evaluations.ports import CaseName, Question
from tidemill_evaluator.suites.domain.cases import Context, Role, Turn
from tidemill_evaluator.suites.domain.limits import Limits
from tidemill_evaluator.suites.domain.suite import Suite
from tidemill_testkit.loop_lag import loop_lag


class Exhausted(RateLimited):
    blame = Blame.CALLER


async def test_a_candidate_that_is_better_on_all_required_cases_passes() -> None:
    evaluator = await ready()

    done = await evaluator.finish()

    assert (done.state, done.verdict) == (State.COMPLETED, Verdict.PASSED)
    assert (done.baseline, done.baseline_configuration, done.dataset_version) == (BASE, DIGEST, "sft@2")
    assert (done.answered, done.cases, done.remaining_s) == (6, 6, None)
    assert [(each.case_set, each.metric, each.required, each.holds) for each in done.comparisons[:2]] == [
        ("dataset:sft@2:held_out", "rouge_l", True, True),
        ("suite:truth@1", "rouge_l", True, True),
    ]
    assert len(done.comparisons) == 8
    assert [type(event) for event in evaluator.evaluations.published] == [EvaluationHasStarted, EvaluationHasCompleted]


@pytest.mark.heavy
async def test_long_contexts_do_not_hold_the_event_loop() -> None:
    evaluator = await ready()
    context = Context(earlier=(Turn(Role.USER, "這個產品多少錢 " * 3900),))
    suite = await evaluator.suites.get("acme", "truth")
    given = [replace(case, context=context) for case in cases(100)]
    await evaluator.suite_crud.update(ADA, suite, given, frozenset({"cases"}), write())

    async with loop_lag() as lag:
        done = await evaluator.finish()

    assert done.state is State.COMPLETED
    assert lag.worst_s < 0.2


async def test_a_candidate_that_loses_on_the_trusted_suite_fails_whatever_it_gained_elsewhere() -> None:
    evaluator = await ready()
    for case in cases(3):
        evaluator.inference.says["", case.question] = case.reference
        evaluator.inference.says[TUNED, case.question] = "something else"

    done = await evaluator.finish()

    assert (done.state, done.verdict) == (State.COMPLETED, Verdict.FAILED)
    assert [each.holds for each in done.comparisons[:2]] == [True, False]


async def test_the_baseline_is_what_is_live_and_the_candidate_gets_the_same_passages_with_their_text() -> None:
    evaluator = await ready()
    question = cases(1)[0].question
    evaluator.inference.finds[question] = [passage()]

    await evaluator.finish()

    baseline, candidate = [each for each in evaluator.inference.asked if each.text == question]
    assert (baseline.variant, list(baseline.passages)) == ("", [])
    assert (candidate.variant, list(candidate.passages)) == (TUNED, [passage()])
    kept = await evaluator.results.read("acme", (await evaluator.all())[0].id, [CaseName("suite:truth@1", "c1")])
    assert [each.passages for each in kept.values()] == [()]  # their text is not needed any more


async def test_both_sides_are_asked_with_the_turns_variables_and_readers_of_the_case() -> None:
    evaluator = Evaluator()
    context = Context(
        earlier=(Turn(Role.USER, "What does topic 4 cost?"), Turn(Role.ASSISTANT, "4 euros.")),
        variables={"product": "topic"},
        principals=("staff",),
    )
    given = [replace(case, context=context) for case in cases(2)]
    await evaluator.suite_crud.create(ADA, Suite(id="truth", project="acme"), given, write())
    await evaluator.by_hand()

    done = await evaluator.finish()

    assert [each.context for each in evaluator.inference.asked] == [context] * 4
    listed = await evaluator.list_case_results(ADA, ListCommand(evaluation=done.id, page=PageRequest(size=9)))
    assert [each.earlier for each in listed.items] == [context.earlier] * 2


async def test_where_the_baseline_failed_the_candidate_searches_itself_and_the_case_is_in_no_mean() -> None:
    evaluator = await ready()
    question = cases(1)[0].question
    evaluator.inference.finds[question] = [passage()]
    evaluator.inference.fails["", question] = [Internal("it broke")]

    done = await evaluator.finish()

    (candidate,) = [each for each in evaluator.inference.asked if each.text == question]
    assert (candidate.variant, list(candidate.passages)) == (TUNED, [])
    truth = done.comparisons[1]
    assert (truth.cases, truth.unanswered, truth.baseline_failures, truth.candidate_failures) == (2, 1, 1, 0)
    assert done.verdict is Verdict.PASSED


async def test_a_case_that_the_candidate_fails_counts_against_it() -> None:
    evaluator = await ready()
    question = cases(1)[0].question
    for case in cases(3):
        evaluator.inference.says["", case.question] = case.reference
    evaluator.inference.fails[TUNED, question] = [Internal("it broke")]

    done = await evaluator.finish()

    truth = done.comparisons[1]
    assert (truth.cases, truth.candidate_failures, truth.low, truth.holds) == (2, 1, 0.0, False)
    assert "with the 1 cases that the candidate failed is -0.3333" in truth.note
    assert done.verdict is Verdict.FAILED


@pytest.mark.parametrize("variants", [("", TUNED), ("",)])
async def test_where_neither_side_answers_there_is_no_verdict(variants: tuple[str, ...]) -> None:
    evaluator = await ready()
    for case in [*cases(3), *cases(3, prefix="held out: ")]:
        for variant in variants:
            evaluator.inference.fails[variant, case.question] = [DeadlineExceeded("too late")] * 9

    done = await evaluator.finish()

    assert (done.state, done.verdict, done.reason) == (State.FAILED, None, "TOO_FEW_ANSWERS")
    assert "cases lack an answer of both sides" in done.message
    assert "missed the deadline" in done.message


async def test_an_evaluation_that_cannot_come_to_a_verdict_ends_without_asking_the_rest() -> None:
    evaluator = await ready(max_concurrent=1)
    await evaluator.with_held_out(100)
    for case in cases(100, prefix="held out: "):
        evaluator.inference.fails["", case.question] = [Internal("it broke")]

    done = await evaluator.finish()

    assert done.reason == "TOO_FEW_ANSWERS"
    assert len(evaluator.inference.asked) < 100


async def test_by_hand_an_evaluation_without_any_answer_has_failed() -> None:
    evaluator = Evaluator()
    await evaluator.with_suite()
    for case in cases(3):
        evaluator.inference.fails[TUNED, case.question] = [Internal("it broke")]
    await evaluator.by_hand()

    done = await evaluator.finish()

    assert (done.state, done.reason) == (State.FAILED, "TOO_FEW_ANSWERS")


@pytest.mark.parametrize(
    "error", [DependencyUnavailable("it ended", dependency=TUNED, blame=Blame.VARIANT), Conflict("a race")]
)
@pytest.mark.parametrize(("times", "failures"), [(2, 0), (3, 1)])
async def test_a_side_that_is_unavailable_is_asked_again_a_bounded_number_of_times(
    error: TidemillError, times: int, failures: int
) -> None:
    evaluator = await ready()
    evaluator.inference.fails[TUNED, cases(1)[0].question] = [error] * times

    done = await evaluator.finish()

    assert done.comparisons[1].candidate_failures == failures


@pytest.mark.parametrize(
    ("error", "waits_for"),
    [
        (DependencyUnavailable("no answer", dependency="rag"), "waits for rag: no answer"),
        (RateLimited("slowly", retry_after_s=0.0), "waits for inference: slowly"),
        (Exhausted("used up", retry_after_s=0.0), "waits for inference: used up"),
        (DependencyUnavailable("used up", dependency="memory"), "waits for memory: used up"),
        (DependencyUnavailable("make room", dependency="disk"), "waits for disk: make room"),
    ],
)
@pytest.mark.parametrize("variant", ["", TUNED])
async def test_while_what_both_sides_need_is_away_neither_has_failed_and_the_case_is_asked_again(
    error: TidemillError, waits_for: str, variant: str
) -> None:
    evaluator = await ready(max_concurrent=1)
    evaluator.inference.fails[variant, cases(1)[0].question] = [error] * 3

    waiting = await evaluator.finish()
    assert (waiting.state, waiting.message) == (State.RUNNING, waits_for)

    done = await evaluator.finish()
    assert (done.state, done.verdict) == (State.COMPLETED, Verdict.PASSED)
    assert {(each.baseline_failures, each.candidate_failures) for each in done.comparisons} == {(0, 0)}


async def test_a_budget_that_is_exhausted_for_long_makes_an_evaluation_wait_and_holds_no_place() -> None:
    evaluator = await ready(max_concurrent=1)
    for_days = RateLimited("used up", retry_after_s=86400.0)
    evaluator.inference.fails["", cases(1)[0].question] = [for_days]

    async with asyncio.timeout(30):
        waiting = await evaluator.finish()

    assert (waiting.state, waiting.message) == (State.RUNNING, "waits for inference: used up")
    assert (await evaluator.finish()).verdict is Verdict.PASSED


async def test_a_question_that_is_asked_many_times_is_evidence_once() -> None:
    evaluator = Evaluator()
    evaluator.candidate_is_right()
    one, two, _ = cases(3)
    repeats = [replace(one, id=f"again{number}") for number in range(8)]
    suite = Suite(id="truth", project="acme")
    await evaluator.suite_crud.create(ADA, suite, [one, two, *repeats], write())
    await evaluator.with_gate(replace(TRUTH, at_least=3))
    await evaluator.register()

    done = await evaluator.finish()

    assert (done.answered, done.comparisons[0].cases, done.verdict) == (10, 2, Verdict.FAILED)


async def test_while_inference_is_away_no_side_has_failed_and_the_evaluation_goes_on_later() -> None:
    evaluator = await ready()
    seen = Counter[str]()

    async def leave(question: Question) -> None:
        seen[question.text] += 1
        if len(evaluator.inference.asked) == 5:
            evaluator.inference.away = away()
            raise away()

    evaluator.inference.before = leave
    waiting = await evaluator.finish()
    assert (waiting.state, waiting.message) == (State.RUNNING, "waits for inference: no answer")

    evaluator.inference.before, evaluator.inference.away = None, None
    done = await evaluator.finish()

    assert (done.state, done.verdict, done.message) == (State.COMPLETED, Verdict.PASSED, "")
    assert len(evaluator.inference.asked) == 12
    assert done.comparisons[0].candidate_failures == done.comparisons[1].candidate_failures == 0


@pytest.mark.parametrize("error", [RateLimited("slowly", retry_after_s=0.0), DeadlineExceeded("too late")])
async def test_a_service_that_is_busy_when_an_evaluation_begins_or_ends_makes_it_wait(error: TidemillError) -> None:
    evaluator = await ready()
    evaluator.inference.away = error

    waiting = await evaluator.finish()
    assert waiting.message == f"waits for an overloaded service: {error.message}"

    evaluator.inference.away = None
    assert (await evaluator.finish()).verdict is Verdict.PASSED


async def test_a_fallback_that_answers_in_the_candidates_place_counts_for_neither_side() -> None:
    evaluator = await ready()
    evaluator.inference.answers_by[TUNED] = "gpt@1"

    done = await evaluator.finish()

    assert done.comparisons[0].candidate_failures == 3
    assert done.verdict is Verdict.FAILED


async def test_of_more_held_out_cases_than_there_is_capacity_for_always_the_same_ones_are_asked() -> None:
    asked = set[frozenset[str]]()
    for _ in range(2):
        evaluator = await ready()
        await evaluator.with_held_out(40)
        (evaluation,) = await evaluator.all()

        await evaluator.worker(evaluator.results, limits=Limits(evaluation_cases=8))(name_of(evaluation))

        done = await evaluator.evaluations.get("acme", evaluation.id)
        assert (done.state, done.answered, done.cases, done.comparisons[0].cases) == (State.COMPLETED, 8, 8, 5)
        assert done.message == "5 of 40 cases of dataset:sft@2:held_out are sampled"
        asked.add(frozenset(each.text for each in evaluator.inference.asked))
    assert len(asked) == 1


async def test_suites_above_the_limit_of_cases_are_not_asked() -> None:
    evaluator = await ready()
    (evaluation,) = await evaluator.all()

    await evaluator.worker(evaluator.results, limits=Limits(evaluation_cases=3))(name_of(evaluation))

    assert (await evaluator.evaluations.get("acme", evaluation.id)).reason == "TOO_MANY_CASES"
    assert evaluator.inference.asked == []


async def test_a_suite_that_changes_meanwhile_is_asked_as_it_was_at_the_start() -> None:
    evaluator = await ready(max_concurrent=1)

    async def change(_: Question) -> None:
        if len(evaluator.inference.asked) == 1:
            pending = Suite(id="truth", project="acme")
            await evaluator.suite_crud.update(ADA, pending, cases(9), frozenset({"cases"}), write())
            evaluator.inference.away = away()

    evaluator.inference.before = change
    await evaluator.finish()
    evaluator.inference.away = None
    done = await evaluator.finish()

    assert (done.state, done.cases) == (State.COMPLETED, 6)
    assert done.comparisons[1].case_set == "suite:truth@1"


async def test_by_hand_there_is_evidence_and_no_verdict() -> None:
    evaluator = Evaluator()
    await evaluator.with_suite()
    evaluator.candidate_is_right()
    await evaluator.by_hand()

    done = await evaluator.finish()

    assert (done.state, done.verdict, done.gate) == (State.COMPLETED, Verdict.NONE, "")
    assert [each.required for each in done.comparisons] == [False] * 4


async def test_by_hand_the_baseline_may_be_a_version_that_is_not_live() -> None:
    evaluator = Evaluator()
    await evaluator.with_suite()
    evaluator.models.versions["lora@0"] = evaluator.models.versions["lora@1"]
    evaluator.models.versions["lora@3"] = evaluator.models.versions["lora@1"]
    await evaluator.by_hand(baseline="lora@3")

    done = await evaluator.finish()

    assert (done.state, done.baseline, done.baseline_configuration) == (State.COMPLETED, "lora@3", DIGEST)
    assert {each.variant for each in evaluator.inference.asked} == {"lora@3", TUNED}
    assert done.comparisons[0].baseline_failures == 0


async def test_a_deleted_suite_does_not_disturb_an_evaluation_that_has_begun() -> None:
    evaluator = Evaluator()
    await evaluator.with_suite()
    started = await evaluator.by_hand()

    async def delete(_: Question) -> None:
        if not evaluator.inference.asked:
            await evaluator.suite_crud.delete(ADA, "truth", write())

    evaluator.inference.before = delete
    await evaluator.worker(evaluator.results, max_concurrent=1)(name_of(started))

    assert (await evaluator.evaluations.get("acme", started.id)).state is State.COMPLETED
