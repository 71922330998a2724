"""Who is promoted, when, by whom, and once."""

import asyncio
from dataclasses import replace

import pytest

from services.inference.tests.fakes import ADA
from services.inference.tests.rollout_fakes import POLICY, RolloutDesk
from services.inference.tests.rollout_records import variant_of
from tidemill_inference.domain.errors import ApprovalsMissing, CandidateNotReady, NoActiveRollout, RolloutNotFound
from tidemill_inference.domain.rollout import Approval, RolloutState, RolloutWasPromoted
from tidemill_inference.domain.rollout_policy import RolloutStep
from tidemill_kit.errors import PreconditionFailed


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
