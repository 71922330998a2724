"""What is live is evaluated again when the provider of its model answers as another model."""

from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta

import pytest

from services.evaluator.tests.builders import ADA, BASE, TUNED, name_of, write
from services.evaluator.tests.evaluations.test_reevaluations import WEEK, scheduled, scheduled_prompt
from services.evaluator.tests.harness import Evaluator, away
from tidemill_core.application import Caller, Request
from tidemill_core.errors import DependencyUnavailable, NotFound
from tidemill_evaluator.evaluations.domain.comparison import Verdict
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.ports import Live
from tidemill_evaluator.gates.domain.gate import Gate
from tidemill_evaluator.gates.domain.reevaluation import Reevaluate

ON_CHANGE = Reevaluate(on_provider_change=True)
HOUR = timedelta(hours=1)


async def watching(reevaluate: Reevaluate | None = ON_CHANGE) -> Evaluator:
    """Return an evaluator whose candidate is live, and whose gate has it evaluated again so."""
    evaluator = await scheduled()
    await declared(evaluator, reevaluate)
    return evaluator


async def declared(evaluator: Evaluator, reevaluate: Reevaluate | None, *, name: str = "watch") -> None:
    gate = await evaluator.gates.get("acme", "gate")
    changed = replace(gate, reevaluate=reevaluate)
    await evaluator.gate_crud.update(ADA, changed, frozenset({"reevaluate"}), write(name))


async def changes(evaluator: Evaluator, event: str = "e1", *, model: str = TUNED) -> list[Evaluation]:
    """Return the re-evaluations that there are once the change of a provider has come."""
    await evaluator.provider_changed(ADA, model, request=Request(id=event, digest=event))
    await evaluator.queue_reevaluation(ADA, "gate")
    return [each for each in await evaluator.all() if each.comparing.reevaluates]


async def gate_of(evaluator: Evaluator) -> Gate:
    return await evaluator.gates.get("acme", "gate")


async def test_a_change_has_what_is_live_evaluated_again_at_once() -> None:
    evaluator = await watching()

    (queued,) = await changes(evaluator)
    await evaluator.run(name_of(queued))

    done = await evaluator.evaluations.get("acme", queued.id)
    assert (done.verdict, done.candidate, evaluator.due) == (Verdict.NOT_WORSE, TUNED, ["gate"])
    assert ((await gate_of(evaluator)).reevaluation_due, (await gate_of(evaluator)).provider_changed) == (None, False)


async def test_a_gate_of_a_prompt_has_it_evaluated_again_when_its_model_changes() -> None:
    evaluator = await scheduled_prompt()
    await declared(evaluator, ON_CHANGE)

    assert [each.candidate for each in await changes(evaluator, model=BASE)] == ["answer@2"]


@pytest.mark.parametrize(
    ("reevaluate", "model"), [(None, TUNED), (Reevaluate(every=WEEK), TUNED), (ON_CHANGE, "lora@9"), (ON_CHANGE, BASE)]
)
async def test_a_change_of_what_is_not_live_or_that_no_gate_asks_for_starts_nothing(
    reevaluate: Reevaluate | None, model: str
) -> None:
    evaluator = await watching(reevaluate)

    assert await changes(evaluator, model=model) == []
    assert evaluator.due == []


async def test_a_change_of_a_judges_model_has_the_gate_evaluate_again_which_checks_whether_the_judge_drifted() -> None:
    evaluator = await watching()
    asked = list[list[str]]()

    async def judging(_: Caller, metrics: Collection[str]) -> Collection[str]:
        asked.append([*metrics])
        return {"grader@1"}

    evaluator.provider_changed = replace(evaluator.provider_changed, judging=judging)

    assert await changes(evaluator, model="grader@2") == []
    assert len(await changes(evaluator, "e2", model="grader@1")) == 1
    assert asked[-1] == [each.metric for each in (await gate_of(evaluator)).require]


async def test_a_deployment_that_is_gone_has_nothing_live() -> None:
    evaluator = await watching()
    evaluator.inference.deployments = {}

    assert await changes(evaluator) == []


async def test_a_provider_that_changes_each_minute_starts_one_in_an_hour() -> None:
    evaluator = await watching()
    for minute in range(59):
        for queued in await changes(evaluator, f"e{minute}"):
            await evaluator.run(name_of(queued))
        evaluator.pass_time(60)
    assert len(await changes(evaluator, "e59")) == 1, "within the hour"
    first_due = (await gate_of(evaluator)).reevaluation_due

    evaluator.pass_time(60)
    assert first_due == evaluator.clock.now()
    assert len(await changes(evaluator, "e60")) == 2


async def test_a_change_while_one_runs_has_another_one_follow() -> None:
    evaluator = await watching()
    (running,) = await changes(evaluator)
    evaluator.pass_time(HOUR.total_seconds())

    assert len(await changes(evaluator, "e2")) == 1
    gate = await gate_of(evaluator)
    assert (gate.reevaluation_due, gate.provider_changed) == (evaluator.clock.now() + HOUR, True)
    await evaluator.run(name_of(running))
    evaluator.pass_time(HOUR.total_seconds())
    await evaluator.queue_reevaluation(ADA, "gate")

    assert len([each for each in await evaluator.all() if each.comparing.reevaluates]) == 2
    assert not (await gate_of(evaluator)).provider_changed


async def test_a_schedule_goes_on_after_a_change() -> None:
    evaluator = await watching(Reevaluate(every=WEEK, on_provider_change=True))

    assert len(await changes(evaluator)) == 1
    assert (await gate_of(evaluator)).reevaluation_due == evaluator.clock.now() + WEEK


async def test_a_change_that_comes_while_a_due_time_is_passed_over_stays_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    evaluator = await watching(Reevaluate(every=WEEK, on_provider_change=True))
    evaluator.pass_time(WEEK.total_seconds())
    live, asked = evaluator.inference.live, list[str]()

    async def gone_as_the_provider_changes(caller: Caller, deployment: str) -> Live:
        if not asked:
            asked.append(deployment)
            await evaluator.provider_changed(ADA, TUNED, request=Request(id="e1", digest="e1"))
            raise NotFound(deployment)
        return await live(caller, deployment)

    monkeypatch.setattr(evaluator.inference, "live", gone_as_the_provider_changes)
    await evaluator.queue_reevaluation(ADA, "gate")

    gate = await gate_of(evaluator)
    assert (gate.reevaluation_due, gate.provider_changed) == (evaluator.clock.now(), True)
    await evaluator.queue_reevaluation(ADA, "gate")
    assert len([each for each in await evaluator.all() if each.comparing.reevaluates]) == 1
    assert (await gate_of(evaluator)).reevaluation_due == evaluator.clock.now() + WEEK


async def test_a_change_of_a_candidate_that_goes_live_before_it_is_saved_is_evaluated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    evaluator = await watching()
    before, live = Live(digest="d1", model=BASE, deadline_s=1), evaluator.inference.live
    asked = list[str]()

    async def promoted_meanwhile(caller: Caller, deployment: str) -> Live:
        asked.append(deployment)
        return before if len(asked) == 1 else await live(caller, deployment)

    monkeypatch.setattr(evaluator.inference, "live", promoted_meanwhile)

    assert [each.candidate for each in await changes(evaluator)] == [TUNED]
    assert (await gate_of(evaluator)).changed_candidate == ""


async def test_a_paused_gate_is_due_once_it_is_resumed() -> None:
    evaluator = await watching()
    paused = replace(await gate_of(evaluator), paused=True)
    await evaluator.gate_crud.update(ADA, paused, frozenset({"paused"}), write("pause"))

    assert await changes(evaluator) == []
    await evaluator.gate_crud.update(ADA, replace(paused, paused=False), frozenset({"paused"}), write("resume"))
    await evaluator.queue_reevaluation(ADA, "gate")
    assert len(await evaluator.all()) == 2


async def test_a_gate_that_asks_for_it_no_more_is_not_due_any_more() -> None:
    evaluator = await watching()
    await evaluator.provider_changed(ADA, TUNED, request=Request.internal())

    await declared(evaluator, None, name="none")

    gate = await gate_of(evaluator)
    assert (gate.reevaluation_due, gate.provider_changed) == (None, False)


async def test_while_inference_is_away_the_event_is_tried_again() -> None:
    evaluator = await watching()
    evaluator.inference.away = away()
    with pytest.raises(DependencyUnavailable):
        await changes(evaluator)

    evaluator.inference.away = None
    assert len(await changes(evaluator)) == 1


async def test_a_crash_before_the_next_time_is_set_starts_none_twice() -> None:
    evaluator = await watching()
    await evaluator.provider_changed(ADA, TUNED, request=Request.internal())
    before = await gate_of(evaluator)
    await evaluator.queue_reevaluation(ADA, "gate")

    def as_before(gate: Gate) -> None:
        gate.reevaluation_due, gate.provider_changed = before.reevaluation_due, True
        gate.last_reevaluation, gate.last_reevaluation_time = "", None

    await evaluator.gates.update("acme", "gate", as_before, request=write().request)
    await evaluator.queue_reevaluation(ADA, "gate")

    assert len(await evaluator.all()) == 2
