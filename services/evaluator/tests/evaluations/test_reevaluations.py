"""What a gate has let go live is evaluated again, against what it answered when it passed."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from services.evaluator.tests.builders import ADA, BASE, DEADLINE_S, DIGEST, TUNED, cases, name_of, write
from services.evaluator.tests.harness import HELD_OUT, TRUTH, Evaluator, away, ready
from tidemill_core.application import Caller
from tidemill_core.errors import DependencyUnavailable, InvalidInput
from tidemill_evaluator.errors import BASELINE_CHANGED, NOT_COMPARABLE, NOT_LIVE
from tidemill_evaluator.evaluations.domain.comparison import Verdict
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation, EvaluationHasCompleted
from tidemill_evaluator.evaluations.domain.job import State
from tidemill_evaluator.evaluations.messages import evaluation_message, event_message
from tidemill_evaluator.evaluations.ports import CaseName, Live, PromptVersions
from tidemill_evaluator.gates.domain.gate import Requirement
from tidemill_evaluator.gates.domain.reevaluation import Reevaluate
from tidemill_evaluator.suites.domain.suite import Suite

WEEK = timedelta(days=7)
LIVE = Live(digest="d2", model=TUNED, deadline_s=DEADLINE_S)


async def scheduled(*, every: timedelta = WEEK) -> Evaluator:
    """Return an evaluator whose candidate has passed its gate and is live, with all answers right still."""
    evaluator = await ready()
    assert (await evaluator.finish()).verdict is Verdict.PASSED
    evaluator.inference.deployments["acme", "helpdesk"] = LIVE
    answers_right(evaluator)
    gate = await evaluator.gates.get("acme", "gate")
    changed = replace(gate, reevaluate=Reevaluate(every=every))
    await evaluator.gate_crud.update(ADA, changed, frozenset({"reevaluate"}), write("schedule"))
    return evaluator


async def scheduled_prompt() -> Evaluator:
    """Return an evaluator of a gate whose prompt has passed it and is live."""
    evaluator = Evaluator()
    await evaluator.with_suite()
    evaluator.inference.prompts["answer"] = PromptVersions(latest=2, variables={1: "", 2: ""}, digests={1: "a", 2: "b"})
    live = Live(digest=DIGEST, model=BASE, deadline_s=DEADLINE_S, prompt="answer@1")
    evaluator.inference.deployments["acme", "helpdesk"] = live
    gate = replace(
        (await Evaluator().with_gate(TRUTH)), candidate="", candidate_prompt="answer", reevaluate=Reevaluate(every=WEEK)
    )
    await evaluator.gate_crud.create(ADA, gate, write("prompt"))
    await evaluator.triggers.prompt_version_created(Caller(project="acme"), "answer", 2, digest="b")
    assert (await evaluator.finish()).verdict is Verdict.PASSED
    evaluator.inference.deployments["acme", "helpdesk"] = replace(live, prompt="answer@2")
    return evaluator


def answers_right(evaluator: Evaluator) -> None:
    for prefix in ("", "held out: "):
        for case in cases(3, prefix=prefix):
            evaluator.inference.says["", case.question] = case.reference


async def again(evaluator: Evaluator) -> Evaluation:
    """Return the re-evaluation that is due after a week, once it has ended."""
    queued = await due(evaluator)
    await evaluator.run(name_of(queued))
    return await evaluator.evaluations.get("acme", queued.id)


async def due(evaluator: Evaluator) -> Evaluation:
    evaluator.pass_time(WEEK.total_seconds())
    await evaluator.queue_reevaluation(ADA, "gate")
    gate = await evaluator.gates.get("acme", "gate")
    return await evaluator.evaluations.get("acme", gate.last_reevaluation)


async def test_what_is_live_is_asked_anew_and_its_earlier_answers_are_not() -> None:
    evaluator = await scheduled()
    asked = len(evaluator.inference.asked)

    done = await again(evaluator)

    assert (done.state, done.verdict, done.ordinal) == (State.COMPLETED, Verdict.NOT_WORSE, 0)
    assert [each.variant for each in evaluator.inference.asked[asked:]] == [""] * 6
    assert not any(each.passages for each in evaluator.inference.asked[asked:]), "it searches as for a user"
    assert all(each.baseline == each.candidate == 1.0 for each in done.comparisons if each.required)
    assert all(each.holds for each in done.comparisons)


async def test_one_that_got_worse_is_said_so_by_its_interval_and_starts_no_rollout() -> None:
    evaluator = await scheduled()
    for case in cases(3):
        evaluator.inference.says["", case.question] = "nonsense"

    done = await again(evaluator)

    worse = {each.case_set: each.note for each in done.comparisons if not each.holds}
    assert (done.verdict, list(worse)) == (Verdict.WORSE, ["suite:truth@1"])
    assert "got worse: the upper bound of the gain is -1.0000; a loss of 0.02 is accepted" in worse["suite:truth@1"]
    _, event = event_message(done, EvaluationHasCompleted(occurred_at=evaluator.clock.now()), 2)
    passed = done.comparing.reevaluates
    assert (event.reevaluates, event.verdict) == (passed, 4)  # type: ignore[attr-defined] # EvaluationCompleted
    assert evaluation_message(done).reevaluates == passed != ""


async def test_a_loss_that_the_requirement_accepts_is_none() -> None:
    evaluator = await scheduled()
    gate = await evaluator.gates.get("acme", "gate")
    accepting = replace(gate, require=(replace(TRUTH, gain_above=-1.0), HELD_OUT))
    await evaluator.gate_crud.update(ADA, accepting, frozenset({"require"}), write("accepts"))
    for case in cases(3):
        evaluator.inference.says["", case.question] = "nonsense"

    assert (await again(evaluator)).verdict is Verdict.NOT_WORSE


async def test_cases_that_changed_since_are_left_out_and_counted() -> None:
    evaluator = await scheduled()
    changed = [replace(each, reference="other") if each.id == "c1" else each for each in cases(4)]
    given = Suite(id="truth", project="acme")
    await evaluator.suite_crud.update(ADA, given, changed, frozenset({"cases"}), write("changed"))

    done = await again(evaluator)

    assert done.message.startswith("2 cases are left out: they changed since")
    assert {each.case_set: each.cases for each in done.comparisons if each.required} == {
        "dataset:sft@2:held_out": 3,
        "suite:truth@2": 2,
    }


async def test_it_is_due_once_after_times_that_were_missed() -> None:
    evaluator = await scheduled()
    evaluator.pass_time(10 * WEEK.total_seconds())

    for _ in range(3):
        await evaluator.queue_reevaluation(ADA, "gate")

    assert len(await evaluator.all()) == 2
    gate = await evaluator.gates.get("acme", "gate")
    assert gate.reevaluation_due == evaluator.clock.now() + WEEK


async def test_a_process_that_stops_before_it_sets_the_next_time_queues_none_twice() -> None:
    evaluator = await scheduled()
    evaluator.pass_time(WEEK.total_seconds())
    before = await evaluator.gates.get("acme", "gate")
    await evaluator.queue_reevaluation(ADA, "gate")

    def as_before(gate: object) -> None:
        gate.reevaluation_due, gate.last_reevaluation = before.reevaluation_due, ""  # type: ignore[attr-defined]

    await evaluator.gates.update("acme", "gate", as_before, request=write().request)
    await evaluator.queue_reevaluation(ADA, "gate")

    assert len(await evaluator.all()) == 2


async def test_one_at_a_time_runs() -> None:
    evaluator = await scheduled()
    first = await due(evaluator)

    assert (await due(evaluator)).id == first.id
    await evaluator.run(name_of(first))
    assert (await due(evaluator)).id != first.id


async def test_a_schedule_that_changes_while_one_is_queued_keeps_one_at_a_time() -> None:
    evaluator = await scheduled()
    evaluator.pass_time(WEEK.total_seconds())

    async def sooner(_: Caller, __: Collection[str]) -> Sequence[str]:
        changed = replace(await evaluator.gates.get("acme", "gate"), reevaluate=None)
        await evaluator.gate_crud.update(ADA, changed, frozenset({"reevaluate"}), write("none"))
        changed.reevaluate = Reevaluate(every=timedelta(hours=1))
        await evaluator.gate_crud.update(ADA, changed, frozenset({"reevaluate"}), write("hourly"))
        return []

    await replace(evaluator.queue_reevaluation, pairwise=sooner)(ADA, "gate")
    evaluator.pass_time(3600)
    await evaluator.queue_reevaluation(ADA, "gate")

    assert len(await evaluator.all()) == 2
    assert "runs still" in evaluator.passed_over[0][1]


async def test_a_paused_gate_is_evaluated_again_once_it_is_resumed() -> None:
    evaluator = await scheduled()
    gate = await evaluator.gates.get("acme", "gate")
    await evaluator.gate_crud.update(ADA, replace(gate, paused=True), frozenset({"paused"}), write("pause"))
    evaluator.pass_time(3 * WEEK.total_seconds())
    await evaluator.queue_reevaluation(ADA, "gate")
    assert len(await evaluator.all()) == 1

    await evaluator.gate_crud.update(ADA, replace(gate, paused=False), frozenset({"paused"}), write("resume"))
    await evaluator.queue_reevaluation(ADA, "gate")
    assert len(await evaluator.all()) == 2


@pytest.mark.parametrize("live", [replace(LIVE, model=BASE), replace(LIVE, model="lora@9"), None])
async def test_without_a_live_variant_that_passed_the_time_is_passed_over(live: Live | None) -> None:
    evaluator = await scheduled()
    evaluator.inference.deployments = {("acme", "helpdesk"): live} if live else {}
    evaluator.pass_time(WEEK.total_seconds())

    await evaluator.queue_reevaluation(ADA, "gate")

    assert len(await evaluator.all()) == len(evaluator.passed_over) == 1
    assert (await evaluator.gates.get("acme", "gate")).reevaluation_due == evaluator.clock.now() + WEEK


async def test_while_inference_is_away_it_stays_due() -> None:
    evaluator = await scheduled()
    evaluator.inference.away = away()
    evaluator.pass_time(WEEK.total_seconds())

    with pytest.raises(DependencyUnavailable):
        await evaluator.queue_reevaluation(ADA, "gate")

    assert (await evaluator.gates.get("acme", "gate")).reevaluation_due == evaluator.clock.now()


async def test_one_whose_variant_went_away_ends_without_a_verdict() -> None:
    evaluator = await scheduled()
    queued = await due(evaluator)
    evaluator.inference.deployments["acme", "helpdesk"] = replace(LIVE, model="lora@2")

    done = await evaluator.finish(queued)

    assert (done.state, done.reason) == (State.FAILED, NOT_LIVE)
    assert len(await evaluator.all()) == 2, "the next one is at the next time"


async def test_a_configuration_that_changes_meanwhile_ends_it_and_is_asked_the_next_time() -> None:
    evaluator = await scheduled()
    queued = await due(evaluator)

    async def change(_: object) -> None:
        evaluator.inference.deployments["acme", "helpdesk"] = replace(LIVE, digest="d3")

    evaluator.inference.before = change
    done = await evaluator.finish(queued)

    assert (done.state, done.reason, len(await evaluator.all())) == (State.FAILED, BASELINE_CHANGED, 2)


async def test_without_the_earlier_answers_there_is_nothing_to_compare() -> None:
    evaluator = await scheduled()
    evaluator.results.stored.clear()

    done = await again(evaluator)

    assert (done.state, done.reason) == (State.FAILED, NOT_COMPARABLE)


async def test_a_live_variant_that_fails_its_cases_got_worse() -> None:
    evaluator = await scheduled()
    queued = await due(evaluator)
    evaluator.inference.answers_by[""] = "fallback@1"

    done = await evaluator.finish(queued)

    assert done.verdict is Verdict.WORSE
    assert "3 of 3 cases have no value any more" in done.comparisons[0].note


async def test_a_prompt_is_evaluated_again_by_its_gate() -> None:
    evaluator = await scheduled_prompt()

    done = await again(evaluator)

    assert (done.verdict, done.candidate, done.comparing.prompt) == (Verdict.NOT_WORSE, "answer@2", "answer")
    assert evaluator.inference.asked[-1].prompt == ""


async def test_judges_that_compare_two_answers_are_left_out() -> None:
    evaluator = await scheduled()

    async def pairwise(_: Caller, metrics: Collection[str]) -> Sequence[str]:
        return list(metrics)

    evaluator.pass_time(WEEK.total_seconds())
    await replace(evaluator.queue_reevaluation, pairwise=pairwise)(ADA, "gate")

    assert len(await evaluator.all()) == 1, "nothing else is required"


async def test_what_the_answers_rest_on_is_kept_with_them() -> None:
    evaluator = await scheduled()
    done = await again(evaluator)

    kept = await evaluator.results.read("acme", done.id, [CaseName("suite:truth@1", "c1")])
    assert kept[CaseName("suite:truth@1", "c1")].rests_on is not None


@pytest.mark.parametrize(
    ("every", "collection", "field"),
    [
        (timedelta(minutes=1), "", "gate.reevaluate.every"),
        (timedelta(days=400), "", "gate.reevaluate.every"),
        (timedelta(0), "", "gate.reevaluate.every"),
        (WEEK, "handbook", "gate.reevaluate"),
    ],
)
async def test_a_schedule_that_breaks_a_rule_is_refused(every: timedelta, collection: str, field: str) -> None:
    evaluator = Evaluator()
    gate = await evaluator.with_gate(Requirement(suite="truth", metric="rouge_l"), name="other")
    given = replace(gate, id="new", reevaluate=Reevaluate(every=every), collection=collection)

    with pytest.raises(InvalidInput) as refused:
        await evaluator.gate_crud.create(ADA, given, write("new"))
    assert field in {each.field for each in refused.value.violations}


async def test_a_schedule_beyond_all_times_is_refused_when_a_gate_is_changed() -> None:
    evaluator = await scheduled()
    gate = await evaluator.gates.get("acme", "gate")
    given = replace(gate, reevaluate=Reevaluate(every=timedelta(days=3_652_500)))

    with pytest.raises(InvalidInput) as refused:
        await evaluator.gate_crud.update(ADA, given, frozenset({"reevaluate"}), write("beyond"))
    assert {each.field for each in refused.value.violations} == {"gate.reevaluate.every"}
