"""What counts for and against a candidate, and what it comes to."""

import time
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta

import pytest

from services.inference.tests.fakes import ADA, ScriptedEngine, asking, question, writing
from services.inference.tests.rollouts.rollout_fakes import POLICY, RolloutHarness, crud_of
from services.inference.tests.rollouts.rollout_records import note, variant_of
from tidemill_core.errors import Blame, DeadlineExceeded, DependencyUnavailable, Internal
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.generation.ports import Started
from tidemill_inference.rollouts.domain.policy import KEPT_OUTCOMES, RolloutStep
from tidemill_inference.rollouts.domain.rollout import RolloutState, RolloutWasRolledBack
from tidemill_inference.rollouts.domain.step_counts import CANDIDATE, LIVE, Outcome, Reason
from tidemill_inference.rollouts.ports import Reaction
from tidemill_inference.routing.domain.attempt import AttemptKind
from tidemill_inference.routing.domain.policy import RoutingPolicy
from tidemill_testkit.clocks import NOON

LONGER = replace(POLICY, steps=(POLICY.steps[0], replace(POLICY.steps[1], requests=40)))


async def test_what_was_counted_is_not_read_again_until_something_is_recorded() -> None:
    harness = RolloutHarness()
    await harness.is_rolling()
    await harness.tick()
    before = harness.outcomes.reads

    await harness.tick()
    await harness.count(await harness.deployment())
    assert harness.outcomes.reads == before
    await harness.asks(1)
    await harness.tick()
    shown = (await harness.count(await harness.deployment())).rollout

    assert harness.outcomes.reads == before + 1
    assert shown
    assert shown.counts.requests == 1


async def test_a_rollout_that_is_held_keeps_its_newest_outcomes_and_is_still_taken_back() -> None:
    harness = RolloutHarness()
    await harness.is_rolling(step=1)
    await harness.tick(after=timedelta(hours=25))
    for number in range(KEPT_OUTCOMES + 10):
        await note(harness, CANDIDATE, number)
    await harness.tick()
    rollout = await harness.rollout()
    assert rollout.state is RolloutState.HELD
    assert len(await harness.outcomes.of_step(ADA.project, rollout.id, 1)) == KEPT_OUTCOMES

    for number in range(60):
        await note(harness, CANDIDATE, number, failed=True)
    await harness.tick()

    assert (await harness.rollout()).message.startswith(
        "ERROR_RATE: 60 of its 1000 answers failed, above the limit of 0.02"
    )


async def test_what_comes_after_its_step_rollout_or_deployment_is_not_kept() -> None:
    harness = RolloutHarness()
    await harness.is_rolling(step=1)
    rollout = await harness.rollout()

    def late(step: int) -> Outcome:
        return Outcome(inference="late", rollout=rollout.id, step=step, variant=LIVE, failed=False, total_s=1.0)

    for step in (0, 2):
        await harness.note(ADA.project, "helpdesk", late(step))
    await harness.note(ADA.project, "helpdesk", replace(late(1), rollout="another"))
    await harness.note(ADA.project, "helpdesk", late(1))
    assert [each.inference for each in await harness.outcomes.of_step(ADA.project, rollout.id, 1)] == ["late"]
    assert not await harness.outcomes.of_step(ADA.project, rollout.id, 2)
    assert not await harness.outcomes.of_step(ADA.project, "another", 1)

    await crud_of(harness).delete(ADA, "helpdesk", writing("d"))
    await harness.note(ADA.project, "helpdesk", late(1))

    for step in (0, 1):
        assert not await harness.outcomes.of_step(ADA.project, rollout.id, step)


async def test_only_what_no_active_rollout_counts_and_was_not_recorded_for_an_hour_is_forgotten() -> None:
    harness = RolloutHarness()
    await harness.is_rolling()
    await harness.asks(1)
    active = (await harness.rollout()).id
    left = Outcome(inference="i1", rollout="ended", step=0, variant=LIVE, failed=False, total_s=1.0)
    await harness.outcomes.record(ADA.project, left)

    async def kept() -> list[bool]:
        return [bool(await harness.outcomes.of_step(ADA.project, rollout, 0)) for rollout in (active, "ended")]

    harness.harness.clock.advance(timedelta(minutes=59))
    await harness.forget()
    assert await kept() == [True, True]
    harness.harness.clock.advance(timedelta(minutes=2))
    await harness.forget()
    assert await kept() == [True, False]


async def test_a_candidate_that_fails_too_often_is_taken_back_at_once() -> None:
    harness = RolloutHarness()
    await harness.is_rolling(step=1)
    harness.candidate.fails_after = Internal("it broke")

    while (await harness.rollout()).active:
        await harness.asks(1)
        await harness.tick()

    rollout = await harness.rollout()
    assert (rollout.state, rollout.counts.candidate) == (RolloutState.ROLLED_BACK, 4)
    event = harness.published[-1]
    assert isinstance(event, RolloutWasRolledBack)
    assert event.reason is Reason.ERROR_RATE
    assert {variant_of(each) for each in await harness.asks(20)} == {("live", "smollm2@1")}


async def test_a_candidate_whose_listeners_run_out_of_time_has_failed_them_and_one_that_is_cut_off_has_not() -> None:
    harness = RolloutHarness(
        replace(POLICY, steps=(RolloutStep(weight=100, requests=4),)), ScriptedEngine(free_words=1)
    )
    await harness.is_rolling()
    harness.candidate.gate.clear()

    async with aclosing(harness.answer(ADA, question(), request=asking("cut off"))) as steps:
        assert isinstance(await anext(steps), Started)
    assert not harness.observed
    with pytest.raises(DeadlineExceeded):
        await harness.answer.whole(ADA, question(), request=asking("late"), until=time.monotonic() + 0.5)

    (answered,) = harness.observed
    assert (answered.failed, answered.chosen.variant) == (True, CANDIDATE)
    assert answered.total_s >= 0.1


async def test_a_candidate_that_breaks_in_ways_that_were_not_foreseen_has_failed() -> None:
    harness = RolloutHarness(replace(POLICY, steps=(RolloutStep(weight=100, requests=4),)))
    await harness.is_rolling()
    harness.candidate.fails_before = RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError):
        await harness.answer.whole(ADA, question(), request=asking("r"))

    (answered,) = harness.observed
    assert (answered.failed, answered.chosen.variant) == (True, CANDIDATE)


async def test_a_fallback_that_answers_for_the_candidate_counts_as_its_failure() -> None:
    harness = RolloutHarness()

    def falls_back(stored: Deployment) -> None:
        stored.live = stored.live.with_answer(fallback=("smollm2@1",))

    await harness.harness.deployments.update(ADA.project, "helpdesk", falls_back, request=asking("f"))
    await harness.is_rolling(step=1)
    harness.candidate.fails_before = Internal("it broke")

    while (await harness.rollout()).active:
        await harness.asks(1)
        await harness.tick()

    assert (await harness.rollout()).counts.candidate_failures == 4


@pytest.mark.parametrize("policy", [RoutingPolicy(retries=1), RoutingPolicy(retries=1, hedge_after_s=60)])
async def test_a_retry_that_the_candidate_answers_itself_is_no_failure_and_its_time_counts_whole(
    policy: RoutingPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = RolloutHarness(replace(POLICY, steps=(RolloutStep(weight=100, requests=4),)))

    def retries(stored: Deployment) -> None:
        stored.spec = replace(stored.spec, routing=policy)

    await harness.harness.deployments.update(ADA.project, "helpdesk", retries, request=asking("f"))
    await harness.is_rolling()
    harness.candidate.fails_before = DependencyUnavailable("it is down", dependency="it", blame=Blame.VARIANT)

    def recovers(*_attempt: object) -> None:
        harness.candidate.fails_before = None

    monkeypatch.setattr(harness.harness.routing, "attempt", recovers)
    answer = await harness.answer.whole(ADA, question(), request=asking("r"))

    (answered,) = harness.observed
    assert (answered.failed, answered.chosen.variant) == (False, CANDIDATE)
    assert [each.kind for each in answer.attempts] == [AttemptKind.FIRST, AttemptKind.RETRY]
    assert answered.total_s >= sum(each.duration_s for each in answer.attempts)


async def test_what_every_variant_depends_on_counts_against_none() -> None:
    harness = RolloutHarness()
    await harness.is_rolling(step=1)
    harness.harness.rag.down = DependencyUnavailable("it is down", dependency="rag")

    await harness.asks(20)

    assert not await harness.outcomes.of_step(ADA.project, (await harness.rollout()).id, 1)


async def test_a_candidate_that_is_slower_is_taken_back() -> None:
    harness = RolloutHarness(LONGER)
    await harness.is_rolling(step=1)

    for number in range(15):
        await note(harness, LIVE, number)
        await note(harness, CANDIDATE, number, total_s=2.0)
    await harness.tick()

    message = (await harness.rollout()).message
    assert message.startswith("LATENCY: p95 of 2 s in 15 answers against 1 s in 15 of the baseline")


async def test_a_candidate_that_is_rated_lower_is_taken_back_and_the_last_word_of_each_counts() -> None:
    harness = RolloutHarness(LONGER)
    await harness.is_rolling(step=1)
    rollout = (await harness.rollout()).id

    async def rates(variant: str, number: int, rating: float, *, seq: int, of: str = rollout) -> None:
        inference = await note(harness, variant, number)
        given = Reaction(
            feedback=f"f-{inference}", seq=seq, inference=inference, rollout=of, metric="rating", score=rating
        )
        await harness.react(ADA, "helpdesk", given, sent_at=NOON)

    for number in range(15):
        await rates(CANDIDATE, number, 1.0, seq=2)
        await rates(CANDIDATE, number, 0.1, seq=1)
        await rates(LIVE, number, 1.0, seq=1)
        await rates(LIVE, number, 0.0, seq=9, of="another rollout")
    await harness.tick()
    assert (await harness.rollout()).active
    for number in range(15):
        await rates(CANDIDATE, number, 0.0, seq=3)
    await harness.tick()

    event = harness.published[-1]
    assert isinstance(event, RolloutWasRolledBack)
    assert event.reason is Reason.RATING
