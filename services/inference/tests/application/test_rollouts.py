"""A candidate's way to users, from its passed evaluation to its promotion or back."""

import asyncio
import time
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta

import pytest

from services.inference.tests.fakes import ADA, ScriptedEngine, asking, question
from services.inference.tests.rollout_fakes import HELPDESK, POLICY, RolloutDesk
from tidemill_inference.application.configure_deployment import DeleteDeployment, DeploymentChange, UpdateDeployment
from tidemill_inference.application.generation import Started
from tidemill_inference.application.ports import GivenRating
from tidemill_inference.application.resolve_configuration import ResolveConfiguration
from tidemill_inference.domain.deployment import Deployment, DeploymentWasConfigured
from tidemill_inference.domain.errors import (
    ApprovalsMissing,
    CandidateNotReady,
    ModelRefused,
    NoActiveRollout,
    RolloutLeaseLost,
    RolloutNotFound,
)
from tidemill_inference.domain.inference import Inference, Purpose, State
from tidemill_inference.domain.prompt import Prompt, PromptContent
from tidemill_inference.domain.rollout import (
    Approval,
    RolloutHasAdvanced,
    RolloutHasStarted,
    RolloutState,
    RolloutWasPromoted,
    RolloutWasRefused,
    RolloutWasRolledBack,
)
from tidemill_inference.domain.rollout_policy import KEPT_OUTCOMES, RolloutStep
from tidemill_inference.domain.step_counts import CANDIDATE, LIVE, Outcome, Reason
from tidemill_kit.application import PageRequest
from tidemill_kit.errors import DeadlineExceeded, DependencyUnavailable, Internal, PreconditionFailed


def variant_of(inference: Inference) -> tuple[str, str]:
    assert inference.variant is not None
    return inference.variant.name, inference.variant.model


async def records(desk: RolloutDesk, purpose: Purpose) -> list[Inference]:
    page = await desk.desk.inferences.list(ADA.project, page=PageRequest(size=1000))
    return [each for each in page.items if each.purpose is purpose]


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


async def test_what_was_counted_is_not_read_again_until_something_is_noted() -> None:
    desk = RolloutDesk()
    await desk.is_rolling()
    await desk.tick()
    before = desk.outcomes.reads

    await desk.tick()
    assert desk.outcomes.reads == before
    await desk.asks(1)
    await desk.tick()

    assert desk.outcomes.reads == before + 1


async def test_a_rollout_that_is_held_keeps_its_newest_outcomes_and_is_still_taken_back() -> None:
    desk = RolloutDesk()
    await desk.is_rolling(step=1)
    await desk.tick(after=timedelta(hours=25))
    for number in range(KEPT_OUTCOMES + 10):
        await note(desk, CANDIDATE, number)
    await desk.tick()
    rollout = await desk.rollout()
    assert rollout.state is RolloutState.HELD
    assert len(await desk.outcomes.of_step(ADA.project, rollout.id, 1)) == KEPT_OUTCOMES

    for number in range(30):
        await note(desk, CANDIDATE, number, failed=True)
    await desk.tick()

    assert (await desk.rollout()).message.startswith("ERROR_RATE: 0.03 of its answers failed in 1000 answers")


async def test_what_comes_after_its_step_rollout_or_deployment_is_not_kept() -> None:
    desk = RolloutDesk()
    await desk.is_rolling(step=1)
    rollout = await desk.rollout()

    def late(step: int) -> Outcome:
        return Outcome(inference="late", rollout=rollout.id, step=step, variant=LIVE, failed=False, total_s=1.0)

    delete = DeleteDeployment(deployments=desk.desk.deployments, outcomes=desk.outcomes, clock=desk.desk.clock)
    for step in (0, 2):
        await desk.note(ADA.project, "helpdesk", late(step))
    await desk.note(ADA.project, "helpdesk", replace(late(1), rollout="another"))
    await desk.note(ADA.project, "helpdesk", late(1))
    assert [each.inference for each in await desk.outcomes.of_step(ADA.project, rollout.id, 1)] == ["late"]
    assert not await desk.outcomes.of_step(ADA.project, rollout.id, 2)
    assert not await desk.outcomes.of_step(ADA.project, "another", 1)

    await delete(ADA, "helpdesk", request=asking("d"))
    await desk.note(ADA.project, "helpdesk", late(1))

    for step in (0, 1):
        assert not await desk.outcomes.of_step(ADA.project, rollout.id, step)


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


async def test_until_the_candidate_is_loaded_the_rollout_waits() -> None:
    desk = RolloutDesk()
    await desk.passes_the_gate()
    desk.registry.down = DependencyUnavailable("it is down", dependency="trainer")

    with pytest.raises(DependencyUnavailable):
        await desk.tick()
    (live,) = await desk.asks(1)
    assert live.variant is not None
    assert live.variant.rollout == ""
    assert (await desk.rollout()).message == "waits for the candidate to be loaded: it is down"
    desk.registry.down = None
    await desk.tick()

    assert (await desk.rollout()).ready
    assert not (await desk.rollout()).message


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


async def test_a_candidate_that_fails_too_often_is_taken_back_at_once() -> None:
    desk = RolloutDesk()
    await desk.is_rolling(step=1)
    desk.candidate.fails_after = Internal("it broke")

    while (await desk.rollout()).active:
        await desk.asks(1)
        await desk.tick()

    rollout = await desk.rollout()
    assert (rollout.state, rollout.counts.candidate) == (RolloutState.ROLLED_BACK, 4)
    event = desk.published[-1]
    assert isinstance(event, RolloutWasRolledBack)
    assert event.reason is Reason.ERROR_RATE
    assert {variant_of(each) for each in await desk.asks(20)} == {("live", "smollm2@1")}


async def test_a_candidate_whose_listeners_run_out_of_time_has_failed_them_and_one_that_is_cut_off_has_not() -> None:
    desk = RolloutDesk(replace(POLICY, steps=(RolloutStep(weight=100, requests=4),)), ScriptedEngine(free_words=1))
    await desk.is_rolling()
    desk.candidate.gate.clear()

    async with aclosing(desk.answer(ADA, question(), request=asking("cut off"))) as steps:
        assert isinstance(await anext(steps), Started)
    assert not desk.observed
    with pytest.raises(DeadlineExceeded):
        await desk.answer.whole(ADA, question(), request=asking("late"), until=time.monotonic() + 0.1)

    (answered,) = desk.observed
    assert (answered.failed, answered.chosen.variant) == (True, CANDIDATE)
    assert answered.total_s >= 0.1


async def test_a_candidate_that_breaks_in_ways_that_nobody_foresaw_has_failed() -> None:
    desk = RolloutDesk(replace(POLICY, steps=(RolloutStep(weight=100, requests=4),)))
    await desk.is_rolling()
    desk.candidate.fails_before = RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError):
        await desk.answer.whole(ADA, question(), request=asking("r"))

    (answered,) = desk.observed
    assert (answered.failed, answered.chosen.variant) == (True, CANDIDATE)


async def test_a_fallback_that_answers_for_the_candidate_counts_as_its_failure() -> None:
    desk = RolloutDesk()

    def falls_back(stored: Deployment) -> None:
        stored.live = replace(stored.live, fallback=("smollm2@1",))

    await desk.desk.deployments.update(ADA.project, "helpdesk", falls_back, request=asking("f"))
    await desk.is_rolling(step=1)
    desk.candidate.fails_before = Internal("it broke")

    while (await desk.rollout()).active:
        await desk.asks(1)
        await desk.tick()

    assert (await desk.rollout()).counts.candidate_failures == 4


async def test_what_every_variant_depends_on_counts_against_none() -> None:
    desk = RolloutDesk()
    await desk.is_rolling(step=1)
    desk.desk.rag.down = DependencyUnavailable("it is down", dependency="rag")

    await desk.asks(20)

    assert not await desk.outcomes.of_step(ADA.project, (await desk.rollout()).id, 1)


async def note(desk: RolloutDesk, variant: str, number: int, *, total_s: float = 1.0, failed: bool = False) -> str:
    inference = f"{variant}{number}"
    outcome = Outcome(
        inference=inference,
        rollout=(await desk.rollout()).id,
        step=1,
        variant=variant,
        failed=failed,
        total_s=total_s,
    )
    await desk.outcomes.note(ADA.project, outcome)
    return inference


async def test_a_candidate_that_is_slower_is_taken_back() -> None:
    desk = RolloutDesk()
    await desk.is_rolling(step=1)

    for number in range(4):
        await note(desk, LIVE, number)
        await note(desk, CANDIDATE, number, total_s=2.0)
    await desk.tick()

    assert (await desk.rollout()).message.startswith("LATENCY: 2 times")


async def test_a_candidate_that_is_rated_lower_is_taken_back_and_the_last_word_of_each_counts() -> None:
    desk = RolloutDesk()
    await desk.is_rolling(step=1)
    rollout = (await desk.rollout()).id

    async def rates(variant: str, number: int, rating: float, *, seq: int, of: str = rollout) -> None:
        inference = await note(desk, variant, number)
        given = GivenRating(feedback=f"f-{inference}", seq=seq, inference=inference, rollout=of, number=rating)
        await desk.rate(ADA.project, "helpdesk", given)

    for number in range(4):
        await rates(CANDIDATE, number, 0.9, seq=2)
        await rates(CANDIDATE, number, 0.1, seq=1)
        await rates(LIVE, number, 0.9, seq=1)
        await rates(LIVE, number, 0.0, seq=9, of="another rollout")
    await desk.tick()
    assert (await desk.rollout()).active
    for number in range(4):
        await rates(CANDIDATE, number, 0.5, seq=3)
    await desk.tick()

    event = desk.published[-1]
    assert isinstance(event, RolloutWasRolledBack)
    assert event.reason is Reason.RATING


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


async def test_a_tender_that_lost_its_lease_changes_nothing() -> None:
    desk = RolloutDesk()
    await desk.is_rolling(step=1)
    await desk.asks(60)
    await desk.tend.__class__(
        deployments=desk.desk.deployments,
        outcomes=type(desk.outcomes)(),  # the later holder has seen nothing yet
        prepare=desk.tend.prepare,
        clock=desk.desk.clock,
    )(HELPDESK, epoch=2)
    before = await desk.deployment()

    with pytest.raises(RolloutLeaseLost):
        await desk.tick(epoch=1)

    assert await desk.deployment() == before


async def test_of_two_promotions_at_once_exactly_one_wins() -> None:
    desk = RolloutDesk()
    await desk.is_rolling()

    ends = await asyncio.gather(
        *(desk.promote(ADA, desk.settling(f"p{number}")) for number in range(2)), return_exceptions=True
    )

    assert sorted(type(end).__name__ for end in ends) == ["Deployment", "NoActiveRollout"]
    assert sum(isinstance(event, RolloutWasPromoted) for event in desk.published) == 1


async def test_a_promotion_that_is_asked_for_again_is_told_again() -> None:
    desk = RolloutDesk()
    await desk.is_rolling()

    first = await desk.promote(ADA, desk.settling("p"))
    again = await desk.promote(ADA, desk.settling("p"))

    assert first.live == again.live
    assert sum(isinstance(event, RolloutWasPromoted) for event in desk.published) == 1


async def test_promotion_wants_a_passed_gate_approvals_and_a_version_that_is_there() -> None:
    none = RolloutDesk()
    with pytest.raises(NoActiveRollout, match="missing is an evaluation that has passed gate helpdesk_gate"):
        await none.promote(ADA, none.settling("p"))
    unapproved = RolloutDesk(replace(POLICY, approvals=1))
    await unapproved.is_rolling()
    with pytest.raises(ApprovalsMissing, match="0 of 1"):
        await unapproved.promote(ADA, unapproved.settling("p"))
    deleted = RolloutDesk()
    await deleted.is_rolling()
    deleted.registry.missing["lora@1"] = "it was deleted"
    with pytest.raises(CandidateNotReady, match="it was deleted"):
        await deleted.promote(ADA, deleted.settling("p"))
    for error in (NoActiveRollout, ApprovalsMissing, CandidateNotReady):
        assert issubclass(error, PreconditionFailed)


async def test_a_loaded_candidate_whose_files_are_damaged_is_not_promoted() -> None:
    desk = RolloutDesk()
    await desk.is_rolling()
    desk.desk.engines.damaged["lora@1"] = "adapter_model.safetensors is damaged"

    with pytest.raises(CandidateNotReady, match="is damaged"):
        await desk.promote(ADA, desk.settling("p"))


async def test_a_rollout_that_began_while_another_was_being_promoted_is_not_promoted() -> None:
    desk = RolloutDesk()
    await desk.is_rolling()

    async def next_one(*_: object) -> None:
        await desk.roll_back(ADA, desk.settling("b"))
        await desk.passes_the_gate("e2")

    with pytest.raises(RolloutNotFound):
        await replace(desk.promote, prepare=next_one)(ADA, desk.settling("p"))  # type: ignore[arg-type]

    assert (await desk.deployment()).live.model == "smollm2@1"


async def test_a_version_that_goes_before_its_promotion_is_taken_back() -> None:
    desk = RolloutDesk(replace(POLICY, steps=(RolloutStep(shadow=True, requests=1),)))
    await desk.is_rolling()
    await desk.asks(1)
    desk.registry.missing["lora@1"] = "it was deleted"

    await desk.tick()

    assert (await desk.rollout()).state is RolloutState.ROLLED_BACK
    assert (await desk.deployment()).live.model == "smollm2@1"


async def test_the_last_approval_promotes() -> None:
    policy = replace(POLICY, steps=(RolloutStep(shadow=True, requests=1),), approvals=1)
    desk = RolloutDesk(policy)
    await desk.is_rolling()
    await desk.asks(1)
    await desk.tick()
    assert (await desk.rollout()).state is RolloutState.HELD

    await desk.approve(ADA, desk.settling("a", rationale="seen enough"))
    await desk.tick()

    rollout = await desk.rollout()
    given = Approval(approver="ada", rationale="seen enough", approve_time=desk.desk.clock.now())
    assert (rollout.state, rollout.approvals) == (RolloutState.PROMOTED, (given,))


async def test_a_promotion_can_be_taken_back() -> None:
    desk = RolloutDesk()
    await desk.is_rolling()
    await desk.promote(ADA, desk.settling("p"))

    preview = await desk.roll_back(ADA, desk.settling("v", validate_only=True))
    assert (await desk.deployment()).live.model == "lora@1"
    back = await desk.roll_back(ADA, desk.settling("b"))

    assert preview.live == back.live
    assert back.live.model == "smollm2@1"
    assert variant_of((await desk.asks(1))[0]) == ("live", "smollm2@1")


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
    resolve = ResolveConfiguration(prompts=desk.desk.prompts, models=desk.desk.registry, retriever=desk.desk.rag)
    update = UpdateDeployment(deployments=desk.desk.deployments, resolve=resolve, clock=desk.desk.clock)

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
