import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from services.evaluator.tests.fakes import (
    ADA,
    BASE,
    DIGEST,
    TUNED,
    Evaluator,
    InMemoryResults,
    cases,
    name_of,
    passage,
    request,
)
from tidemill_evaluator.application.change_suites import CreateSuiteCommand, DeleteSuiteCommand, UpdateSuiteCommand
from tidemill_evaluator.application.ports import CaseName, Kept, Live, Question, Version
from tidemill_evaluator.domain.comparison import Verdict
from tidemill_evaluator.domain.evaluation import (
    EvaluationHasCompleted,
    EvaluationHasFailed,
    EvaluationHasStarted,
    State,
)
from tidemill_evaluator.domain.gate import Requirement
from tidemill_evaluator.domain.limits import Limits
from tidemill_evaluator.domain.suite import Suite
from tidemill_kit.errors import Conflict, DependencyUnavailable, Internal, RateLimited, TidemillError

HELD_OUT = Requirement(dataset="sft", metric="rouge_l", at_least=3)
TRUTH = Requirement(suite="truth", metric="rouge_l", gain_above=-0.02)


async def ready(**settings: int) -> Evaluator:
    """Return an evaluator with suite, held-out part, gate, and a candidate that knows all answers."""
    evaluator = Evaluator(**settings)  # type: ignore[arg-type] # attempts and at_once
    await evaluator.with_suite()
    await evaluator.with_held_out()
    await evaluator.with_gate(HELD_OUT, TRUTH)
    evaluator.candidate_is_right()
    evaluator.candidate_is_right(prefix="held out: ")
    await evaluator.register()
    return evaluator


def away() -> DependencyUnavailable:
    return DependencyUnavailable("no answer", dependency="inference")


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
    assert [each.passages for each in kept.values()] == [()]  # nobody needs their text any more


async def test_where_the_baseline_failed_the_candidate_searches_itself_and_the_failure_counts_as_nothing() -> None:
    evaluator = await ready()
    question = cases(1)[0].question
    evaluator.inference.finds[question] = [passage()]
    evaluator.inference.fails["", question] = [Internal("it broke")]

    done = await evaluator.finish()

    (candidate,) = [each for each in evaluator.inference.asked if each.text == question]
    assert (candidate.variant, list(candidate.passages)) == (TUNED, [])
    assert (done.comparisons[1].cases, done.comparisons[1].baseline_failures) == (3, 1)
    assert done.verdict is Verdict.PASSED


async def test_a_case_that_the_candidate_fails_is_not_dropped() -> None:
    evaluator = await ready()
    question = cases(1)[0].question
    evaluator.inference.says["", question] = cases(1)[0].reference
    evaluator.inference.fails[TUNED, question] = [Internal("it broke")]

    done = await evaluator.finish()

    truth = done.comparisons[1]
    assert (truth.cases, truth.candidate_failures, truth.low) == (3, 1, -1.0)
    assert done.verdict is Verdict.FAILED


@pytest.mark.parametrize("error", [DependencyUnavailable("it ended", dependency=TUNED), Conflict("a race")])
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
    ],
)
async def test_while_what_both_sides_need_is_away_neither_has_failed_and_the_case_is_asked_again(
    error: TidemillError, waits_for: str
) -> None:
    evaluator = await ready(at_once=1)
    evaluator.inference.fails["", cases(1)[0].question] = [error] * 3

    waiting = await evaluator.finish()
    assert (waiting.state, waiting.message) == (State.RUNNING, waits_for)

    done = await evaluator.finish()
    assert done.state is State.COMPLETED
    assert [each.baseline_failures for each in done.comparisons] == [0] * 8


async def test_a_baseline_that_fails_is_no_gain_of_the_candidate() -> None:
    evaluator = await ready()
    for case in cases(3, prefix="held out: "):
        evaluator.inference.fails["", case.question] = [Internal("it broke")]

    done = await evaluator.finish()

    held_out = done.comparisons[0]
    assert (held_out.baseline, held_out.candidate, held_out.baseline_failures) == (0.0, 1.0, 3)
    assert (held_out.difference, held_out.low, held_out.high, held_out.holds) == (0.0, 0.0, 0.0, False)
    assert done.verdict is Verdict.FAILED


async def test_a_question_that_is_asked_many_times_is_evidence_once() -> None:
    evaluator = Evaluator()
    evaluator.candidate_is_right()
    one, two, _ = cases(3)
    repeats = [replace(one, id=f"again{number}") for number in range(8)]
    suite = Suite(id="truth", project="acme")
    await evaluator.changing_suites.create(
        CreateSuiteCommand(suite=suite, cases=[one, two, *repeats], request=request())
    )
    await evaluator.with_gate(replace(TRUTH, at_least=3))
    await evaluator.register()

    done = await evaluator.finish()

    assert (done.answered, done.comparisons[0].cases, done.verdict) == (10, 2, Verdict.FAILED)


async def test_while_inference_is_away_nobody_has_failed_and_the_evaluation_goes_on_later() -> None:
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


async def test_a_fallback_that_answers_in_the_candidates_place_counts_for_nobody() -> None:
    evaluator = await ready()
    evaluator.inference.answers_by[TUNED] = "gpt@1"

    done = await evaluator.finish()

    assert done.comparisons[0].candidate_failures == 3
    assert done.verdict is Verdict.FAILED


class Killed(BaseException):
    """As a kill would end the worker."""


class ResultsOfAKilledWorker(InMemoryResults):
    """Keeps so many more writes, then ends the worker after the write, or before it."""

    def __init__(self, *, writes: int, written: bool) -> None:
        super().__init__()
        self.writes, self.written = writes, written

    async def keep(self, project: str, evaluation: str, name: CaseName, kept: Kept, *, epoch: int) -> None:
        self.writes -= 1
        if self.writes >= 0 or self.written:
            await super().keep(project, evaluation, name, kept, epoch=epoch)
        if self.writes < 0:
            raise Killed


@pytest.mark.parametrize("writes", range(12))
async def test_a_worker_that_is_killed_anywhere_is_followed_by_one_that_repeats_nothing_kept(writes: int) -> None:
    evaluator = await ready()
    (evaluation,) = await evaluator.all()
    dying = ResultsOfAKilledWorker(writes=writes, written=True)
    with pytest.raises((Killed, BaseExceptionGroup)):
        await evaluator.worker(dying, at_once=1)(name_of(evaluation))
    evaluator.results.stored = dying.stored

    done = await evaluator.finish()

    assert (done.state, done.verdict, done.answered) == (State.COMPLETED, Verdict.PASSED, 6)
    assert max(Counter((each.variant, each.text) for each in evaluator.inference.asked).values()) == 1
    assert [type(event) for event in evaluator.evaluations.published] == [EvaluationHasStarted, EvaluationHasCompleted]


async def test_an_answer_that_was_given_but_not_kept_is_told_again_and_only_lost_texts_are_asked_anew() -> None:
    evaluator = await ready()
    question = cases(1)[0].question
    evaluator.inference.finds[question] = [passage()]
    (evaluation,) = await evaluator.all()
    for _ in range(2):
        dying = ResultsOfAKilledWorker(writes=0, written=False)
        with pytest.raises((Killed, BaseExceptionGroup)):
            await evaluator.worker(dying, at_once=1)(name_of(evaluation))

    done = await evaluator.finish()

    assert done.verdict is Verdict.PASSED
    asked = Counter((each.variant, each.text) for each in evaluator.inference.asked)
    assert asked.pop(("", question)) == 3
    assert max(asked.values()) == 1
    (candidate,) = [each for each in evaluator.inference.asked if (each.variant, each.text) == (TUNED, question)]
    assert list(candidate.passages) == [passage()]


async def test_a_worker_that_slept_through_its_lease_changes_nothing() -> None:
    evaluator = await ready()
    (evaluation,) = await evaluator.all()
    asleep, wake = asyncio.Event(), asyncio.Event()

    async def sleep(question: Question) -> None:
        if question.variant and not asleep.is_set():
            asleep.set()
            await wake.wait()

    evaluator.inference.before = sleep
    sleeper = asyncio.create_task(evaluator.run(name_of(evaluation)))
    await asleep.wait()
    evaluator.leases.steal(name_of(evaluation))
    done = await evaluator.finish()
    stored, published = dict(evaluator.results.stored), list(evaluator.evaluations.published)
    wake.set()

    assert await sleeper
    assert await evaluator.evaluations.get("acme", evaluation.id) == done
    assert evaluator.results.stored == stored
    assert evaluator.evaluations.published == published


async def test_two_workers_that_both_believe_to_hold_it_come_to_one_verdict() -> None:
    evaluator = await ready(at_once=1)
    (evaluation,) = await evaluator.all()
    asleep = [asyncio.Event(), asyncio.Event()]
    wake = [asyncio.Event(), asyncio.Event()]

    async def sleep_in_turn(question: Question) -> None:
        for turn in range(2):
            if question.variant and not asleep[turn].is_set():
                asleep[turn].set()
                await wake[turn].wait()
                return

    evaluator.inference.before = sleep_in_turn
    first = asyncio.create_task(evaluator.worker(evaluator.results, at_once=1)(name_of(evaluation)))
    await asleep[0].wait()
    evaluator.leases.steal(name_of(evaluation))
    second = asyncio.create_task(evaluator.worker(evaluator.results, at_once=1)(name_of(evaluation)))
    await asleep[1].wait()
    before = await evaluator.evaluations.get("acme", evaluation.id)
    wake[0].set()
    assert await first  # it is lost to it at its next write, while the other still works
    assert await evaluator.evaluations.get("acme", evaluation.id) == before
    wake[1].set()

    assert await second
    assert (await evaluator.evaluations.get("acme", evaluation.id)).verdict is Verdict.PASSED
    assert [type(event) for event in evaluator.evaluations.published] == [EvaluationHasStarted, EvaluationHasCompleted]


async def test_an_evaluation_that_somebody_else_holds_is_left_to_them() -> None:
    evaluator = await ready()
    (evaluation,) = await evaluator.all()

    async with evaluator.leases.held(name_of(evaluation)):
        assert not await evaluator.run(name_of(evaluation))

    assert evaluator.inference.asked == []


async def test_a_cancelled_evaluation_stops_at_the_next_case_and_stays_cancelled() -> None:
    evaluator = await ready(at_once=1)
    (evaluation,) = await evaluator.all()

    async def cancel(_: Question) -> None:
        if len(evaluator.inference.asked) == 3:
            await evaluator.cancel(ADA, evaluation.id, request=request())

    evaluator.inference.before = cancel
    assert await evaluator.run(name_of(evaluation))

    cancelled = await evaluator.evaluations.get("acme", evaluation.id)
    assert (cancelled.state, cancelled.reason) == (State.CANCELLED, "CANCELLED")
    assert len(evaluator.inference.asked) < 12
    assert [type(event) for event in evaluator.evaluations.published] == [EvaluationHasStarted, EvaluationHasFailed]


async def test_no_more_cases_than_the_limit_are_asked_at_the_same_time() -> None:
    evaluator = await ready(at_once=2)
    asking, most = 0, 0

    async def count(_: Question) -> None:
        nonlocal asking, most
        asking += 1
        most = max(most, asking)
        await asyncio.sleep(0)
        asking -= 1

    evaluator.inference.before = count
    await evaluator.finish()

    assert most == 2


async def test_what_is_left_is_estimated_from_the_pace_so_far() -> None:
    evaluator = await ready(at_once=1)
    (evaluation,) = await evaluator.all()
    told: list[tuple[int, float | None]] = []

    async def look(_: Question) -> None:
        now = await evaluator.evaluations.get("acme", evaluation.id)
        told.append((now.answered, now.remaining_s))
        evaluator.pass_time(5)

    evaluator.inference.before = look
    await evaluator.finish()

    assert told[0] == (0, None)
    assert told[4] == (0, 40.0)  # all baselines are asked first
    assert told[-1] == (5, 5.0)


async def test_a_candidate_is_asked_when_the_baselines_of_its_turn_were_and_no_sooner() -> None:
    evaluator = await ready(at_once=4)

    await evaluator.finish()

    sides = ["candidate" if question.variant == TUNED else "baseline" for question in evaluator.inference.asked]
    assert sides == ["baseline"] * 6 + ["candidate"] * 6


async def test_a_baseline_that_changes_meanwhile_fails_the_evaluation_and_another_starts_by_itself() -> None:
    evaluator = await ready(at_once=1)
    (evaluation,) = await evaluator.all()

    async def promote(_: Question) -> None:
        if len(evaluator.inference.asked) == 4:
            evaluator.inference.deployments["acme", "helpdesk"] = Live(digest="d2", model=BASE)

    evaluator.inference.before = promote
    failed = await evaluator.finish()
    (again,) = [each for each in await evaluator.all() if each.id != evaluation.id]
    done = await evaluator.finish(again)

    assert (failed.state, failed.reason, failed.verdict) == (State.FAILED, "BASELINE_CHANGED", None)
    assert (again.attempt, again.gate, again.candidate) == (2, "gate", TUNED)
    assert (done.verdict, done.baseline_configuration) == (Verdict.PASSED, "d2")


async def test_a_baseline_that_changed_while_the_evaluation_waited_is_noticed_before_anything_is_asked() -> None:
    evaluator = await ready(at_once=1)
    (evaluation,) = await evaluator.all()

    async def leave(_: Question) -> None:
        evaluator.inference.away = away()

    evaluator.inference.before = leave
    await evaluator.finish(evaluation)
    asked = len(evaluator.inference.asked)
    evaluator.inference.before, evaluator.inference.away = None, None
    evaluator.inference.deployments["acme", "helpdesk"] = Live(digest="d2", model=BASE)

    failed = await evaluator.finish(evaluation)

    assert (failed.reason, len(evaluator.inference.asked)) == ("BASELINE_CHANGED", asked)


async def test_a_baseline_that_changed_and_changed_back_is_noticed_by_its_answers() -> None:
    evaluator = await ready(at_once=1)
    (evaluation,) = await evaluator.all()

    async def change_once(_: Question) -> None:
        digest = "d2" if len(evaluator.inference.asked) == 2 else DIGEST
        evaluator.inference.deployments["acme", "helpdesk"] = Live(digest=digest, model=BASE)

    evaluator.inference.before = change_once
    failed = await evaluator.finish(evaluation)

    assert (failed.reason, len(evaluator.inference.asked)) == ("BASELINE_CHANGED", 3)


async def test_a_baseline_that_changed_behind_the_last_answer_is_noticed() -> None:
    evaluator = await ready(at_once=1)

    async def promote(_: Question) -> None:
        if len(evaluator.inference.asked) == 11:
            evaluator.inference.deployments["acme", "helpdesk"] = Live(digest="d2", model=BASE)

    evaluator.inference.before = promote

    (evaluation,) = await evaluator.all()
    assert (await evaluator.finish(evaluation)).reason == "BASELINE_CHANGED"


async def test_a_baseline_that_changes_each_time_is_compared_a_bounded_number_of_times() -> None:
    evaluator = await ready(attempts=2, at_once=1)
    digests = iter(range(1000))

    async def promote(_: Question) -> None:
        evaluator.inference.deployments["acme", "helpdesk"] = Live(digest=f"d{next(digests)}", model=BASE)

    evaluator.inference.before = promote
    (first,) = await evaluator.all()
    await evaluator.finish(first)
    (second,) = [each for each in await evaluator.all() if each.id != first.id]
    last = await evaluator.finish(second)

    assert len(await evaluator.all()) == 2
    assert (last.state, last.reason) == (State.FAILED, "BASELINE_CHANGED")
    assert "start another" in last.message


async def test_a_refused_rollout_has_its_candidate_compared_anew_once() -> None:
    evaluator = await ready()
    done = await evaluator.finish()

    for _ in range(2):
        await evaluator.react.baseline_changed("acme", done.id)
    await evaluator.react.baseline_changed("acme", "nobody's")
    await evaluator.react.baseline_changed("globex", done.id)

    assert sorted(each.attempt for each in await evaluator.all()) == [1, 2]


async def test_a_candidate_that_cannot_be_loaded_comes_to_no_verdict() -> None:
    for version in (None, Version(ready=False, dataset_version="")):
        evaluator = await ready()
        del evaluator.models.versions[TUNED]
        if version:
            evaluator.models.versions[TUNED] = version

        failed = await evaluator.finish()

        assert (failed.state, failed.reason) == (State.FAILED, "CANDIDATE_UNAVAILABLE")
        assert evaluator.inference.asked == []
        assert [type(event) for event in evaluator.evaluations.published] == [EvaluationHasFailed]


async def test_without_a_deployment_there_is_no_verdict() -> None:
    evaluator = await ready()
    evaluator.inference.deployments.clear()

    assert (await evaluator.finish()).reason == "DEPLOYMENT_UNAVAILABLE"


async def test_without_cases_there_is_no_verdict() -> None:
    for spoil in ("suite", "part", "empty", "erased", "elsewhere", "other dataset"):
        evaluator = await ready()
        part = evaluator.datasets.parts["sft@2"]
        match spoil:
            case "suite":
                suite = await evaluator.suites.update(
                    "acme", "truth", lambda each: setattr(each, "deleted", True), request=request()
                )
                assert suite.deleted
            case "part":
                evaluator.datasets.parts.clear()
            case "empty":
                evaluator.publish("sft", 2, 0, part.content)
            case "erased":
                await evaluator.objects.delete(part.content.bucket, part.content.key)
            case "elsewhere":
                await evaluator.with_held_out(bucket="elsewhere")
            case "other dataset":
                evaluator.models.versions[TUNED] = Version(ready=True, dataset_version="other@1")

        failed = await evaluator.finish()

        assert (spoil, failed.state, failed.reason) == (spoil, State.FAILED, "NO_CASES")


async def test_of_more_held_out_cases_than_there_is_room_for_always_the_same_ones_are_asked() -> None:
    asked = set[frozenset[str]]()
    for _ in range(2):
        evaluator = await ready()
        await evaluator.with_held_out(40)
        (evaluation,) = await evaluator.all()

        await evaluator.worker(evaluator.results, limits=Limits(evaluation_cases=8))(name_of(evaluation))

        done = await evaluator.evaluations.get("acme", evaluation.id)
        assert (done.state, done.answered, done.cases, done.comparisons[0].cases) == (State.COMPLETED, 8, 8, 5)
        assert done.message == "5 of 40 cases of dataset:sft@2:held_out were asked"
        asked.add(frozenset(each.text for each in evaluator.inference.asked))
    assert len(asked) == 1


async def test_suites_above_the_limit_of_cases_are_not_asked() -> None:
    evaluator = await ready()
    (evaluation,) = await evaluator.all()

    await evaluator.worker(evaluator.results, limits=Limits(evaluation_cases=3))(name_of(evaluation))

    assert (await evaluator.evaluations.get("acme", evaluation.id)).reason == "TOO_MANY_CASES"
    assert evaluator.inference.asked == []


async def test_a_suite_that_changes_meanwhile_is_asked_as_it_was_at_the_start() -> None:
    evaluator = await ready(at_once=1)

    async def change(_: Question) -> None:
        if len(evaluator.inference.asked) == 1:
            wanted = Suite(id="truth", project="acme")
            command = UpdateSuiteCommand(suite=wanted, cases=cases(9), fields=frozenset({"cases"}), request=request())
            await evaluator.changing_suites.update(command)
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
            command = DeleteSuiteCommand(suite="truth", request=request())
            await evaluator.changing_suites.delete(ADA, command)

    evaluator.inference.before = delete
    await evaluator.worker(evaluator.results, at_once=1)(name_of(started))

    assert (await evaluator.evaluations.get("acme", started.id)).state is State.COMPLETED
