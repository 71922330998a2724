"""A candidate's way to users, from its passed evaluation to its promotion or back."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.inference.tests.fakes import ADA, ScriptedEngine, asking, question
from services.inference.tests.rollout_fakes import HELPDESK, POLICY, Registered, RolloutDesk
from services.inference.tests.rollout_records import records, variant_of
from tidemill_inference.application.configure_deployment import DeploymentChange, UpdateDeployment
from tidemill_inference.application.count_outcomes import CountOutcomes
from tidemill_inference.application.resolve_configuration import ResolveConfiguration
from tidemill_inference.domain.deployment import Deployment, DeploymentWasConfigured
from tidemill_inference.domain.errors import ModelRefused, NoActiveRollout, RolloutLeaseLost
from tidemill_inference.domain.inference import Purpose, State
from tidemill_inference.domain.prompt import Prompt, PromptContent
from tidemill_inference.domain.rollout import (
    RolloutHasAdvanced,
    RolloutHasStarted,
    RolloutState,
    RolloutWasPromoted,
    RolloutWasRefused,
    RolloutWasRolledBack,
)
from tidemill_inference.domain.rollout_policy import OnTimeout, RolloutStep
from tidemill_inference.domain.step_counts import CANDIDATE, LIVE, Reason
from tidemill_kit.errors import TRANSIENT, DependencyUnavailable, Internal, RateLimited, TidemillError


def updates(desk: RolloutDesk) -> UpdateDeployment:
    resolve = ResolveConfiguration(prompts=desk.desk.prompts, models=desk.desk.registry, retriever=desk.desk.rag)
    return UpdateDeployment(deployments=desk.desk.deployments, resolve=resolve, clock=desk.desk.clock)


async def test_a_candidate_goes_through_shadow_and_canary_and_is_promoted() -> None:
    desk = RolloutDesk()
    await desk.passes_the_gate()
    await desk.tick()

    shadowed = await desk.asks(3)
    await desk.tick()
    canary = await desk.asks(12)
    while (await desk.rollout()).active:
        canary += await desk.asks(1)
        await desk.tick()
    after = await desk.asks(1)

    assert {variant_of(each) for each in shadowed} == {("live", "smollm2@1")}
    assert {variant_of(each) for each in canary} == {("live", "smollm2@1"), ("candidate", "lora@1")}
    assert variant_of(after[0]) == ("live", "lora@1")
    rollout = await desk.rollout()
    assert {each.variant.rollout for each in (*shadowed, *canary) if each.variant} == {rollout.id}
    assert after[0].variant is not None
    assert (after[0].variant.rollout, after[0].variant.configuration) == ("", rollout.candidate.digest)
    assert [type(event) for event in desk.published] == [
        RolloutHasStarted,
        RolloutHasAdvanced,
        RolloutWasPromoted,
        DeploymentWasConfigured,
    ]
    assert (rollout.counts.requests, rollout.counts.candidate >= 4) == (len(canary), True)
    assert not await desk.tick()
    assert not await desk.outcomes.of_step(ADA.project, rollout.id, 1)


async def test_a_shadow_is_asked_on_the_same_passages_and_never_counts_as_live() -> None:
    desk = RolloutDesk()
    await desk.is_rolling()

    (live,) = await desk.asks(1)

    (shadow,) = await records(desk, Purpose.SHADOW)
    assert variant_of(shadow) == ("candidate", "lora@1")
    assert shadow.state is State.COMPLETED
    assert [(each.document, each.start) for each in shadow.passages] == [
        (each.document, each.start) for each in live.passages
    ]
    assert len(desk.desk.rag.asked) == 1
    assert desk.candidate.seen[0][0] == desk.desk.engine.seen[0][0]
    counts = (await desk.count(await desk.deployment())).rollout
    assert counts is not None
    assert (counts.counts.requests, counts.counts.candidate) == (1, 1)


async def test_a_copy_that_needs_no_search_looks_no_faster_than_the_answer_that_did() -> None:
    desk = RolloutDesk()
    await desk.is_rolling()
    desk.desk.rag.takes_s = 0.2

    await desk.answer.whole(ADA, question(), request=asking("r"))
    (live,) = desk.observed
    await desk.shadow(live)

    assert [each.chosen.variant for each in desk.observed] == [LIVE, CANDIDATE]
    assert all(each.total_s < 0.2 for each in desk.observed)
    assert live.inference.usage is not None
    assert live.inference.usage.total_s >= 0.2


async def test_a_shadow_that_fails_leaves_its_live_answer_alone_and_counts_against_the_candidate() -> None:
    desk = RolloutDesk(candidate=ScriptedEngine(fails_before=Internal("it broke")))
    await desk.is_rolling()

    answers = await desk.asks(3)
    await desk.tick()

    assert {each.state for each in answers} == {State.COMPLETED}
    rollout = await desk.rollout()
    assert (rollout.state, rollout.counts.candidate_failures) == (RolloutState.ROLLED_BACK, 3)


async def test_the_same_live_answer_is_shadowed_once() -> None:
    desk = RolloutDesk()
    await desk.is_rolling()
    await desk.answer.whole(ADA, question(), request=asking("r"))
    (answered,) = desk.observed

    await desk.shadow(answered)
    await desk.shadow(answered)

    assert desk.candidate.runs == 1


async def test_a_shadow_after_its_step_is_let_go() -> None:
    desk = RolloutDesk()
    await desk.is_rolling()
    await desk.answer.whole(ADA, question(), request=asking("r"))
    answered = desk.observed.pop()
    await desk.is_rolling(step=1)

    with pytest.raises(NoActiveRollout):
        await desk.shadow(answered)


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
    desk = RolloutDesk()
    await desk.passes_the_gate()
    desk.registry.down = down

    with pytest.raises(TRANSIENT):
        await desk.tick()
    (live,) = await desk.asks(1)
    assert live.variant is not None
    assert live.variant.rollout == ""
    message = (await desk.rollout()).message
    assert message.startswith("waits for the candidate to be loaded: ")
    assert message.endswith("it is down")
    desk.registry.down = None
    await desk.tick()

    assert (await desk.rollout()).ready
    assert not (await desk.rollout()).message


async def test_the_files_of_a_candidate_that_finds_no_room_are_not_read_until_there_is_some() -> None:
    desk = RolloutDesk()
    await desk.passes_the_gate()
    engines = desk.desk.engines
    engines.full = True

    for _ in range(3):
        with pytest.raises(DependencyUnavailable, match="used up"):
            await desk.tick()
    assert (engines.verified, (await desk.rollout()).ready) == (0, False)
    engines.full = False
    await desk.tick()

    assert (engines.verified, (await desk.rollout()).ready) == (1, True)


async def test_a_candidate_that_is_not_loaded_in_time_is_held_and_loaded_no_more_until_somebody_decides() -> None:
    desk = RolloutDesk()
    await desk.passes_the_gate()
    desk.registry.down = DependencyUnavailable("it is down", dependency="trainer")
    with pytest.raises(DependencyUnavailable):
        await desk.tick()

    await desk.tick(after=timedelta(hours=24))
    await desk.tick()

    rollout = await desk.rollout()
    assert (rollout.state, rollout.ready) == (RolloutState.HELD, False)
    await desk.roll_back(ADA, desk.settling("b"))
    desk.registry.down = None
    await desk.passes_the_gate("e2", candidate="lora@2")
    assert (await desk.rollout()).active


async def test_a_candidate_that_cannot_be_loaded_is_taken_back() -> None:
    desk = RolloutDesk()
    await desk.passes_the_gate()
    desk.desk.registry.down = ModelRefused("lora@1", why="adapter_model.safetensors is damaged in the store")

    await desk.tick()

    event = desk.published[-1]
    assert isinstance(event, RolloutWasRolledBack)
    assert event.reason is Reason.MODEL_NOT_READY
    assert "damaged" in event.message


async def test_a_candidate_whose_loading_breaks_in_ways_that_nobody_foresaw_is_taken_back() -> None:
    desk = RolloutDesk()
    await desk.passes_the_gate()
    del desk.desk.engines.engines["lora"]  # a KeyError

    await desk.tick()

    event = desk.published[-1]
    assert isinstance(event, RolloutWasRolledBack)
    assert (event.reason, "KeyError" in event.message) == (Reason.MODEL_NOT_READY, True)


async def test_a_step_that_lasts_too_long_is_held_until_somebody_decides() -> None:
    desk = RolloutDesk()
    await desk.is_rolling(step=1)

    await desk.tick(after=timedelta(hours=25))
    await desk.asks(40)
    await desk.tick()

    rollout = await desk.rollout()
    assert (rollout.state, rollout.message) == (
        RolloutState.HELD,
        "step 1 did not see enough within 24 h: promote it or roll it back",
    )
    promoted = await desk.promote(ADA, desk.settling("p", rationale="seen enough"))
    assert promoted.live.model == "lora@1"
    assert promoted.rollout is not None
    assert promoted.rollout.message == "by hand: seen enough"


async def test_paused_it_neither_begins_nor_advances() -> None:
    desk = RolloutDesk()

    def pause(stored: Deployment, *, paused: bool) -> None:
        stored.rollouts_paused = paused

    await desk.desk.deployments.update(ADA.project, "helpdesk", lambda d: pause(d, paused=True), request=asking("0"))
    await desk.passes_the_gate()
    await desk.tick()
    assert not (await desk.rollout()).ready

    await desk.desk.deployments.update(ADA.project, "helpdesk", lambda d: pause(d, paused=False), request=asking("1"))
    await desk.is_rolling()
    await desk.desk.deployments.update(ADA.project, "helpdesk", lambda d: pause(d, paused=True), request=asking("2"))
    await desk.asks(10)
    await desk.tick()

    assert (await desk.rollout()).step == 0


class PausedMeanwhile(Registered):
    """A registry during whose answer somebody pauses the desk's rollouts."""

    def __init__(self, desk: RolloutDesk) -> None:
        super().__init__()
        self._update = updates(desk)

    async def check(self, project: str, model: str) -> None:
        await super().check(project, model)
        await self._update(ADA, DeploymentChange(id="helpdesk", rollouts_paused=True, request=asking("pause")))


async def test_a_pause_that_was_acknowledged_while_the_candidate_was_loaded_holds() -> None:
    waiting, done = RolloutDesk(), RolloutDesk(replace(POLICY, steps=(RolloutStep(shadow=True, requests=1),)))
    await waiting.passes_the_gate()
    await done.is_rolling()
    await done.asks(1)

    for desk in (waiting, done):
        tend = replace(desk.tend, prepare=replace(desk.tend.prepare, candidates=PausedMeanwhile(desk)))
        await tend(HELPDESK, epoch=1)
        await tend(HELPDESK, epoch=1)

    assert not (await waiting.rollout()).ready
    assert (await done.rollout()).active
    assert (await done.deployment()).live.model == "smollm2@1"


async def test_a_rollout_that_was_paused_for_longer_than_its_step_may_last_goes_on_where_it_was() -> None:
    desk = RolloutDesk(replace(POLICY, on_timeout=OnTimeout.ROLL_BACK))
    await desk.is_rolling()
    update = updates(desk)

    await update(ADA, DeploymentChange(id="helpdesk", rollouts_paused=True, request=asking("pause")))
    await desk.tick(after=timedelta(hours=25))
    await update(ADA, DeploymentChange(id="helpdesk", rollouts_paused=False, request=asking("resume")))
    await desk.tick(after=timedelta(hours=23))
    assert (await desk.rollout()).state is RolloutState.SHADOW

    await desk.tick(after=timedelta(hours=1))
    assert (await desk.rollout()).state is RolloutState.ROLLED_BACK


async def test_the_counts_of_only_so_many_deployments_are_kept_in_memory() -> None:
    desk = RolloutDesk()
    await desk.is_rolling(step=1)
    rollout = await desk.rollout()
    count = CountOutcomes(outcomes=desk.outcomes, max_kept=2)
    for project in ("acme", "b", "acme", "c", "acme"):
        await count.step(replace(HELPDESK, project=project), rollout)

    before = desk.outcomes.reads
    await count.step(HELPDESK, rollout)
    assert desk.outcomes.reads == before
    await count.step(replace(HELPDESK, project="b"), rollout)
    assert desk.outcomes.reads == before + 1


async def test_a_tender_that_lost_its_lease_changes_nothing() -> None:
    desk = RolloutDesk()
    await desk.is_rolling(step=1)
    await desk.asks(60)
    later = replace(desk.tend, count=CountOutcomes(outcomes=type(desk.outcomes)()))  # it has seen nothing yet
    await later(HELPDESK, epoch=2)
    before = await desk.deployment()

    with pytest.raises(RolloutLeaseLost):
        await desk.tick(epoch=1)

    assert await desk.deployment() == before


async def test_an_evaluation_against_another_baseline_is_refused_so_that_it_is_made_anew() -> None:
    desk = RolloutDesk()

    await desk.passes_the_gate(baseline="another")
    await desk.passes_the_gate(baseline="another")

    (event,) = desk.published
    assert isinstance(event, RolloutWasRefused)
    assert (event.reason, event.evaluation, event.candidate) == (Reason.BASELINE_CHANGED, "e1", "lora@1")


async def test_a_candidate_that_is_not_ready_and_a_deployment_that_is_gone() -> None:
    desk = RolloutDesk()
    desk.registry.missing["lora@1"] = "the registry calls it importing"

    await desk.passes_the_gate()

    (event,) = desk.published
    assert isinstance(event, RolloutWasRefused)
    assert event.reason is Reason.MODEL_NOT_READY


async def test_applying_again_after_a_promotion_changes_nothing_and_a_new_prompt_keeps_the_model() -> None:
    desk = RolloutDesk()
    await desk.is_rolling()
    await desk.promote(ADA, desk.settling("p"))
    promoted = await desk.deployment()
    update = updates(desk)

    again = await update(ADA, DeploymentChange(id="helpdesk", change=lambda spec: spec, request=asking("apply")))
    assert again == promoted

    def write(prompt: Prompt) -> None:
        prompt.write(PromptContent(user="new"), digest="new", now=desk.desk.clock.now())

    await desk.desk.prompts.update(ADA.project, "answer", write, request=asking("write"))
    newer = await update(ADA, DeploymentChange(id="helpdesk", change=lambda spec: spec, request=asking("apply 2")))
    assert (newer.live.model, newer.live.prompt) == ("lora@1", "answer@2")
    unfollowed = DeploymentChange(
        id="helpdesk", change=lambda spec: replace(spec, follow=""), request=asking("apply 3")
    )
    assert (await update(ADA, unfollowed)).live.model == "smollm2@1"
