"""A candidate's way to users, from its passed evaluation to its promotion or back."""

from dataclasses import replace
from datetime import timedelta

import pytest
from cachetools import LRUCache

from services.inference.tests.fakes import ADA, ScriptedEngine, asking, question, writing
from services.inference.tests.rollouts.rollout_fakes import HELPDESK, POLICY, Registered, RolloutHarness, crud_of
from services.inference.tests.rollouts.rollout_records import records, variant_of
from tidemill_core.application import Caller
from tidemill_core.errors import TRANSIENT, DependencyUnavailable, Internal, RateLimited, TidemillError
from tidemill_inference.deployments.domain.deployment import Deployment, DeploymentWasConfigured
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.errors import ModelRefused
from tidemill_inference.generation.domain.inference import State
from tidemill_inference.generation.domain.question import Purpose
from tidemill_inference.prompts.domain.prompt import Prompt, PromptContent
from tidemill_inference.rollouts.domain.errors import NoActiveRollout, RolloutLeaseLost
from tidemill_inference.rollouts.domain.policy import OnTimeout, RolloutStep
from tidemill_inference.rollouts.domain.rollout import (
    RolloutHasAdvanced,
    RolloutHasStarted,
    RolloutState,
    RolloutWasPromoted,
    RolloutWasRefused,
    RolloutWasRolledBack,
)
from tidemill_inference.rollouts.domain.step_counts import CANDIDATE, LIVE, Reason
from tidemill_inference.rollouts.outcomes import CountOutcomes


async def test_a_candidate_goes_through_shadow_and_canary_and_is_promoted() -> None:
    harness = RolloutHarness()
    await harness.passes_the_gate()
    await harness.tick()

    shadowed = await harness.asks(3)
    await harness.tick()
    canary = await harness.asks(12)
    while (await harness.rollout()).active:
        canary += await harness.asks(1)
        await harness.tick()
    after = await harness.asks(1)

    assert {variant_of(each) for each in shadowed} == {("live", "smollm2@1")}
    assert {variant_of(each) for each in canary} == {("live", "smollm2@1"), ("candidate", "lora@1")}
    assert variant_of(after[0]) == ("live", "lora@1")
    rollout = await harness.rollout()
    assert {each.variant.rollout for each in (*shadowed, *canary) if each.variant} == {rollout.id}
    assert after[0].variant is not None
    assert (after[0].variant.rollout, after[0].variant.configuration) == ("", rollout.candidate.digest)
    assert [type(event) for event in harness.published] == [
        RolloutHasStarted,
        RolloutHasAdvanced,
        RolloutWasPromoted,
        DeploymentWasConfigured,
    ]
    assert (rollout.counts.requests, rollout.counts.candidate >= 4) == (len(canary), True)
    assert not await harness.tick()
    assert not await harness.outcomes.of_step(ADA.project, rollout.id, 1)


async def test_a_shadow_is_asked_on_the_same_passages_and_never_counts_as_live() -> None:
    harness = RolloutHarness()
    await harness.is_rolling()

    (live,) = await harness.asks(1)

    (shadow,) = await records(harness, Purpose.SHADOW)
    assert variant_of(shadow) == ("candidate", "lora@1")
    assert shadow.state is State.COMPLETED
    assert [(each.document, each.start) for each in shadow.passages] == [
        (each.document, each.start) for each in live.passages
    ]
    assert len(harness.harness.rag.asked) == 1
    assert harness.candidate.seen[0].messages == harness.harness.engine.seen[0].messages
    counts = (await harness.count(await harness.deployment())).rollout
    assert counts is not None
    assert (counts.counts.requests, counts.counts.candidate) == (1, 1)


async def test_a_copy_that_needs_no_search_seems_no_faster_than_the_answer_that_did() -> None:
    harness = RolloutHarness()
    await harness.is_rolling()
    harness.harness.rag.takes_s = 0.2

    await harness.answer.whole(ADA, question(), request=asking("r"))
    (live,) = harness.observed
    await harness.shadow(live)

    assert [each.chosen.variant for each in harness.observed] == [LIVE, CANDIDATE]
    assert all(each.total_s < 0.2 for each in harness.observed)
    assert live.inference.usage is not None
    assert live.inference.usage.total_s >= 0.2


async def test_a_shadow_that_fails_leaves_its_live_answer_alone_and_counts_against_the_candidate() -> None:
    harness = RolloutHarness(candidate=ScriptedEngine(fails_before=Internal("it broke")))
    await harness.is_rolling()

    answers = await harness.asks(3)
    await harness.tick()

    assert {each.state for each in answers} == {State.COMPLETED}
    rollout = await harness.rollout()
    assert (rollout.state, rollout.counts.candidate_failures) == (RolloutState.ROLLED_BACK, 3)


async def test_the_same_live_answer_is_shadowed_once() -> None:
    harness = RolloutHarness()
    await harness.is_rolling()
    await harness.answer.whole(ADA, question(), request=asking("r"))
    (answered,) = harness.observed

    await harness.shadow(answered)
    await harness.shadow(answered)

    assert harness.candidate.runs == 1


@pytest.mark.parametrize(("store", "recorded"), [(True, RecordMode.FULL), (False, RecordMode.METADATA)])
async def test_the_copy_of_a_response_is_no_response_and_keeps_no_more_than_it(
    *, store: bool, recorded: RecordMode
) -> None:
    harness = RolloutHarness()
    await harness.is_rolling()
    await harness.answer.whole(ADA, question(store=store), request=asking("r"))
    (answered,) = harness.observed

    copy = await harness.harness.stored(await harness.shadow(answered))

    assert (copy.parameters, copy.record) == (None, recorded)


async def test_a_shadow_after_its_step_is_let_go() -> None:
    harness = RolloutHarness()
    await harness.is_rolling()
    await harness.answer.whole(ADA, question(), request=asking("r"))
    answered = harness.observed.pop()
    await harness.is_rolling(step=1)

    with pytest.raises(NoActiveRollout):
        await harness.shadow(answered)


@pytest.mark.parametrize(
    "down",
    [
        DependencyUnavailable("it is down", dependency="trainer"),
        RateLimited("it is down", retry_after_s=1),
        Internal("it is down"),
    ],
    ids=repr,
)
async def test_until_the_candidate_is_loaded_the_rollout_waits(down: TidemillError) -> None:
    harness = RolloutHarness()
    await harness.passes_the_gate()
    harness.registry.down = down

    with pytest.raises(TRANSIENT):
        await harness.tick()
    (live,) = await harness.asks(1)
    assert live.variant is not None
    assert live.variant.rollout == ""
    message = (await harness.rollout()).message
    assert message.startswith("waits for the candidate to be loaded: ")
    assert message.endswith("it is down")
    harness.registry.down = None
    await harness.tick()

    assert (await harness.rollout()).ready
    assert not (await harness.rollout()).message


async def test_the_files_of_a_candidate_that_does_not_fit_are_not_read_until_there_is_some() -> None:
    harness = RolloutHarness()
    await harness.passes_the_gate()
    engines = harness.harness.engines
    engines.full = True

    for _ in range(3):
        with pytest.raises(DependencyUnavailable, match="used up"):
            await harness.tick()
    assert (engines.verified, (await harness.rollout()).ready) == (0, False)
    engines.full = False
    await harness.tick()

    assert (engines.verified, (await harness.rollout()).ready) == (1, True)


async def test_a_candidate_that_is_not_loaded_in_time_is_held_and_loaded_no_more_until_an_operator_decides() -> None:
    harness = RolloutHarness()
    await harness.passes_the_gate()
    harness.registry.down = DependencyUnavailable("it is down", dependency="trainer")
    with pytest.raises(DependencyUnavailable):
        await harness.tick()

    await harness.tick(after=timedelta(hours=24))
    await harness.tick()

    rollout = await harness.rollout()
    assert (rollout.state, rollout.ready) == (RolloutState.HELD, False)
    await harness.roll_back(ADA, harness.command("b"))
    harness.registry.down = None
    await harness.passes_the_gate("e2", candidate="lora@2")
    assert (await harness.rollout()).active


async def test_a_candidate_that_cannot_be_loaded_is_taken_back() -> None:
    harness = RolloutHarness()
    await harness.passes_the_gate()
    harness.harness.registry.down = ModelRefused("lora@1", why="adapter_model.safetensors is damaged in the store")

    await harness.tick()

    event = harness.published[-1]
    assert isinstance(event, RolloutWasRolledBack)
    assert event.reason is Reason.MODEL_NOT_READY
    assert "damaged" in event.message


async def test_a_candidate_whose_loading_breaks_in_ways_that_were_not_foreseen_is_taken_back() -> None:
    harness = RolloutHarness()
    await harness.passes_the_gate()
    del harness.harness.engines.engines["lora"]  # a KeyError

    await harness.tick()

    event = harness.published[-1]
    assert isinstance(event, RolloutWasRolledBack)
    assert (event.reason, "KeyError" in event.message) == (Reason.MODEL_NOT_READY, True)


async def test_a_step_that_lasts_too_long_is_held_until_an_operator_decides() -> None:
    harness = RolloutHarness()
    await harness.is_rolling(step=1)

    await harness.tick(after=timedelta(hours=25))
    await harness.asks(40)
    await harness.tick()

    rollout = await harness.rollout()
    assert (rollout.state, rollout.message) == (
        RolloutState.HELD,
        "step 1 did not see enough within 24 h: promote it or roll it back",
    )
    promoted = await harness.promote(ADA, harness.command("p", rationale="seen enough"))
    assert promoted.live.model == "lora@1"
    assert promoted.rollout is not None
    assert promoted.rollout.message == "by hand: seen enough"


async def test_paused_it_neither_begins_nor_advances() -> None:
    harness = RolloutHarness()

    def pause(stored: Deployment, *, paused: bool) -> None:
        stored.rollouts_paused = paused

    await harness.harness.deployments.update(
        ADA.project, "helpdesk", lambda d: pause(d, paused=True), request=asking("0")
    )
    await harness.passes_the_gate()
    await harness.tick()
    assert not (await harness.rollout()).ready

    await harness.harness.deployments.update(
        ADA.project, "helpdesk", lambda d: pause(d, paused=False), request=asking("1")
    )
    await harness.is_rolling()
    await harness.harness.deployments.update(
        ADA.project, "helpdesk", lambda d: pause(d, paused=True), request=asking("2")
    )
    await harness.asks(10)
    await harness.tick()

    assert (await harness.rollout()).step == 0


class PausedMeanwhile(Registered):
    """A registry during whose answer the deployment's rollouts are paused."""

    def __init__(self, harness: RolloutHarness) -> None:
        super().__init__()
        self._crud = crud_of(harness)

    async def check(self, caller: Caller, model: str) -> None:
        await super().check(caller, model)
        await self._crud.update(ADA, "helpdesk", rollouts_paused=True, write=writing("pause"))


async def test_a_pause_that_was_acknowledged_while_the_candidate_was_loaded_holds() -> None:
    waiting, done = RolloutHarness(), RolloutHarness(replace(POLICY, steps=(RolloutStep(shadow=True, requests=1),)))
    await waiting.passes_the_gate()
    await done.is_rolling()
    await done.asks(1)

    for harness in (waiting, done):
        reconcile = replace(
            harness.reconcile, prepare=replace(harness.reconcile.prepare, candidates=PausedMeanwhile(harness))
        )
        await reconcile(HELPDESK, epoch=1)
        await reconcile(HELPDESK, epoch=1)

    assert not (await waiting.rollout()).ready
    assert (await done.rollout()).active
    assert (await done.deployment()).live.model == "smollm2@1"


async def test_a_rollout_that_was_paused_for_longer_than_its_step_may_last_goes_on_where_it_was() -> None:
    harness = RolloutHarness(replace(POLICY, on_timeout=OnTimeout.ROLL_BACK))
    await harness.is_rolling()
    update = crud_of(harness).update

    await update(ADA, "helpdesk", rollouts_paused=True, write=writing("pause"))
    await harness.tick(after=timedelta(hours=25))
    await update(ADA, "helpdesk", rollouts_paused=False, write=writing("resume"))
    await harness.tick(after=timedelta(hours=23))
    assert (await harness.rollout()).state is RolloutState.SHADOW

    await harness.tick(after=timedelta(hours=1))
    assert (await harness.rollout()).state is RolloutState.ROLLED_BACK


async def test_the_counts_of_only_so_many_deployments_are_kept_in_memory() -> None:
    harness = RolloutHarness()
    await harness.is_rolling(step=1)
    rollout = await harness.rollout()
    count = CountOutcomes(outcomes=harness.outcomes, clock=harness.harness.clock, counted=LRUCache(2))
    for project in ("acme", "b", "acme", "c", "acme"):
        await count.step(replace(HELPDESK, project=project), rollout)

    before = harness.outcomes.reads
    await count.step(HELPDESK, rollout)
    assert harness.outcomes.reads == before
    await count.step(replace(HELPDESK, project="b"), rollout)
    assert harness.outcomes.reads == before + 1


async def test_a_tender_that_lost_its_lease_changes_nothing() -> None:
    harness = RolloutHarness()
    await harness.is_rolling(step=1)
    await harness.asks(60)
    later = replace(
        harness.reconcile, count=CountOutcomes(outcomes=type(harness.outcomes)(), clock=harness.harness.clock)
    )  # it has seen nothing yet
    await later(HELPDESK, epoch=2)
    before = await harness.deployment()

    with pytest.raises(RolloutLeaseLost):
        await harness.tick(epoch=1)

    assert await harness.deployment() == before


async def test_an_evaluation_against_another_baseline_is_refused_so_that_it_is_made_anew() -> None:
    harness = RolloutHarness()

    await harness.passes_the_gate(baseline="another")
    await harness.passes_the_gate(baseline="another")

    (event,) = harness.published
    assert isinstance(event, RolloutWasRefused)
    assert (event.reason, event.evaluation, event.candidate) == (Reason.BASELINE_CHANGED, "e1", "lora@1")


async def test_a_candidate_that_is_not_ready_and_a_deployment_that_is_gone() -> None:
    harness = RolloutHarness()
    harness.registry.missing["lora@1"] = "the registry calls it importing"

    await harness.passes_the_gate()

    (event,) = harness.published
    assert isinstance(event, RolloutWasRefused)
    assert event.reason is Reason.MODEL_NOT_READY


async def test_applying_again_after_a_promotion_changes_nothing_and_a_new_prompt_keeps_the_model() -> None:
    harness = RolloutHarness()
    await harness.is_rolling()
    await harness.promote(ADA, harness.command("p"))
    promoted = await harness.deployment()
    update = crud_of(harness).update

    again = await update(ADA, "helpdesk", change=lambda spec: spec, write=writing("apply"))
    assert again == promoted

    def write(prompt: Prompt) -> None:
        prompt.write(PromptContent(user="new"), digest="new", now=harness.harness.clock.now())

    await harness.harness.prompts.update(ADA.project, "answer", write, request=asking("write"))
    newer = await update(ADA, "helpdesk", change=lambda spec: spec, write=writing("apply 2"))
    assert (newer.live.model, newer.live.prompt) == ("lora@1", "answer@2")
    unfollowed = await update(ADA, "helpdesk", change=lambda spec: replace(spec, follow=""), write=writing("apply 3"))
    assert unfollowed.live.model == "smollm2@1"
