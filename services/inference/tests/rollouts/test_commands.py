"""Who is promoted, when, by whom, and once."""

import asyncio
from dataclasses import replace

import pytest

from services.inference.tests.fakes import ADA
from services.inference.tests.rollouts.rollout_fakes import POLICY, RolloutHarness
from services.inference.tests.rollouts.rollout_records import variant_of
from tidemill_core.application import Caller
from tidemill_core.approvals import Approval, ApproverNotAllowed
from tidemill_core.errors import PreconditionFailed
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.rollouts.domain.errors import (
    ApprovalsMissing,
    CandidateNotReady,
    NoActiveRollout,
    RolloutNotFound,
)
from tidemill_inference.rollouts.domain.policy import RolloutStep
from tidemill_inference.rollouts.domain.rollout import RolloutState, RolloutWasPromoted


async def test_of_two_promotions_at_once_exactly_one_wins() -> None:
    harness = RolloutHarness()
    await harness.is_rolling()

    ends = await asyncio.gather(
        *(harness.promote(ADA, harness.command(f"p{number}")) for number in range(2)), return_exceptions=True
    )

    assert sorted(type(end).__name__ for end in ends) == ["Deployment", "NoActiveRollout"]
    assert sum(isinstance(event, RolloutWasPromoted) for event in harness.published) == 1


async def test_a_promotion_that_is_asked_for_again_is_reported_again() -> None:
    harness = RolloutHarness()
    await harness.is_rolling()

    first = await harness.promote(ADA, harness.command("p"))
    again = await harness.promote(ADA, harness.command("p"))

    assert first.live == again.live
    assert sum(isinstance(event, RolloutWasPromoted) for event in harness.published) == 1


async def test_promotion_needs_a_passed_gate_approvals_and_a_version_that_is_there() -> None:
    none = RolloutHarness()
    with pytest.raises(NoActiveRollout, match="missing is an evaluation that has passed gate helpdesk_gate"):
        await none.promote(ADA, none.command("p"))
    unapproved = RolloutHarness(replace(POLICY, approvals=1))
    await unapproved.is_rolling()
    with pytest.raises(ApprovalsMissing, match="0 of 1"):
        await unapproved.promote(ADA, unapproved.command("p"))
    deleted = RolloutHarness()
    await deleted.is_rolling()
    deleted.registry.missing["lora@1"] = "it was deleted"
    with pytest.raises(CandidateNotReady, match="it was deleted"):
        await deleted.promote(ADA, deleted.command("p"))
    for error in (NoActiveRollout, ApprovalsMissing, CandidateNotReady):
        assert issubclass(error, PreconditionFailed)


async def test_a_loaded_candidate_whose_files_are_damaged_is_not_promoted() -> None:
    harness = RolloutHarness()
    await harness.is_rolling()
    harness.harness.engines.damaged["lora@1"] = "adapter_model.safetensors is damaged"

    with pytest.raises(CandidateNotReady, match="is damaged"):
        await harness.promote(ADA, harness.command("p"))


async def test_a_rollout_that_began_while_another_was_being_promoted_is_not_promoted() -> None:
    harness = RolloutHarness()
    await harness.is_rolling()

    async def next_one(*_: object, **__: object) -> None:
        await harness.roll_back(ADA, harness.command("b"))
        await harness.passes_the_gate("e2")

    commands = replace(harness.commands, prepare=next_one)  # type: ignore[arg-type]
    with pytest.raises(RolloutNotFound):
        await commands.promote(ADA, harness.command("p"))

    assert (await harness.deployment()).live.model == "smollm2@1"


async def test_a_version_that_goes_before_its_promotion_is_taken_back() -> None:
    harness = RolloutHarness(replace(POLICY, steps=(RolloutStep(shadow=True, requests=1),)))
    await harness.is_rolling()
    await harness.asks(1)
    harness.registry.missing["lora@1"] = "it was deleted"

    await harness.tick()

    assert (await harness.rollout()).state is RolloutState.ROLLED_BACK
    assert (await harness.deployment()).live.model == "smollm2@1"


async def test_the_last_approval_promotes() -> None:
    policy = replace(POLICY, steps=(RolloutStep(shadow=True, requests=1),), approvals=1)
    harness = RolloutHarness(policy)
    await harness.is_rolling()
    await harness.asks(1)
    await harness.tick()
    assert (await harness.rollout()).state is RolloutState.HELD

    await harness.approve(PERSON, harness.command("a", rationale="seen enough"))
    await harness.tick()

    rollout = await harness.rollout()
    given = Approval(approver="user:ada", rationale="seen enough", approve_time=harness.harness.clock.now())
    assert (rollout.state, rollout.approvals) == (RolloutState.PROMOTED, (given,))


async def test_a_promotion_can_be_taken_back() -> None:
    harness = RolloutHarness()
    await harness.is_rolling()
    await harness.promote(ADA, harness.command("p"))

    preview = await harness.roll_back(ADA, harness.command("v", validate_only=True))
    assert (await harness.deployment()).live.model == "lora@1"
    back = await harness.roll_back(ADA, harness.command("b"))

    assert preview.live == back.live
    assert back.live.model == "smollm2@1"
    assert variant_of((await harness.asks(1))[0]) == ("live", "smollm2@1")


PERSON = Caller(project="acme", subject="user:ada", roles=frozenset({"operator"}), credential="jti-1")


async def test_approvals_count_distinct_operators_who_did_not_make_the_candidate() -> None:
    harness = RolloutHarness(replace(POLICY, approvals=2))
    await harness.passes_the_gate(requester="user:eva")
    harness.registry.made_by["lora@1"] = {"user:mia", "user:planner"}
    refused = [
        ("no such role", replace(PERSON, roles=frozenset({"contributor", "approver"}))),
        ("counts people", replace(PERSON, subject="service_account:ci")),
        *[("by the same person", replace(PERSON, subject=f"user:{author}")) for author in ("mia", "planner", "eva")],
    ]

    for why, caller in refused:
        with pytest.raises(ApproverNotAllowed, match=why):
            await harness.approve(caller, harness.command(f"r-{caller.subject}-{why}"))
    for number, caller in enumerate([PERSON, replace(PERSON, credential="jti-2"), replace(PERSON, subject="user:bob")]):
        await harness.approve(caller, harness.command(f"a-{number}"))

    rollout = await harness.rollout()
    assert [each.approver for each in rollout.approvals] == ["user:ada", "user:bob"]
    assert (rollout.missing_approvals, rollout.authors) == (0, ("user:eva", "user:mia", "user:planner"))


class StartsAfterwards:
    """Deployments of which one begins to roll out once it was read."""

    def __init__(self, harness: RolloutHarness) -> None:
        self.harness, self.update = harness, harness.commands.deployments.update

    async def get(self, project: str, name: str) -> Deployment:
        found = await self.harness.commands.deployments.get(project, name)
        await self.harness.passes_the_gate()
        return found


async def test_who_approves_is_checked_for_the_rollout_that_gets_the_approval() -> None:
    harness = RolloutHarness(replace(POLICY, approvals=1))
    commands = replace(harness.commands, deployments=StartsAfterwards(harness))  # type: ignore[arg-type]

    with pytest.raises(ApproverNotAllowed):
        await commands.approve(replace(PERSON, roles=frozenset({"contributor"})), harness.command("a"))
    assert (await harness.rollout()).approvals == ()


async def test_the_approval_of_one_who_turns_out_to_be_an_author_counts_no_longer() -> None:
    harness = RolloutHarness(replace(POLICY, approvals=2))
    await harness.is_rolling()
    await harness.approve(PERSON, harness.command("a-1"))
    harness.registry.made_by["lora@1"] = {"user:ada"}

    await harness.approve(replace(PERSON, subject="user:bob"), harness.command("a-2"))

    with pytest.raises(ApprovalsMissing, match="1 of 2"):
        await harness.promote(PERSON, harness.command("p"))


async def test_a_promotion_names_who_approved_it_and_who_decided() -> None:
    harness = RolloutHarness(replace(POLICY, approvals=1))
    await harness.is_rolling()
    await harness.approve(PERSON, harness.command("a", rationale="reads well"))
    await harness.promote(replace(PERSON, subject="user:bob"), harness.command("p"))

    (promoted,) = [event for event in harness.published if isinstance(event, RolloutWasPromoted)]
    assert [each.approver for each in promoted.approvals] == ["user:ada"]
    assert (promoted.decided_by, (await harness.rollout()).decided_by) == ("user:bob", "user:bob")
