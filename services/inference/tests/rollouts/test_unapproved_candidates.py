"""A candidate whose version people still have to agree to."""

import pytest

from services.inference.tests.fakes import ADA
from services.inference.tests.rollouts.rollout_fakes import RolloutHarness
from services.inference.tests.rollouts.rollout_records import variant_of
from tidemill_core.approvals import ApprovalMissing
from tidemill_inference.rollouts.domain.rollout import RolloutState


async def test_it_serves_nothing_until_they_did() -> None:
    harness = RolloutHarness()
    harness.registry.lacking = {"lora@1"}
    await harness.passes_the_gate()
    for _ in range(2):
        assert await harness.tick()

    rollout = await harness.rollout()
    assert (rollout.state, rollout.ready) == (RolloutState.SHADOW, False)
    assert "model lora@1 lacks 1 approval of the role operator" in rollout.message
    assert {variant_of(each) for each in await harness.asks(3)} == {("live", "smollm2@1")}
    with pytest.raises(ApprovalMissing, match="lora@1"):
        await harness.promote(ADA, harness.command("by hand"))

    harness.registry.lacking = set()
    await harness.tick()
    assert (await harness.rollout()).ready


async def test_one_that_serves_when_a_policy_is_added_goes_on_and_is_promoted_after_the_approvals() -> None:
    harness = RolloutHarness()
    await harness.passes_the_gate()
    await harness.tick()
    await harness.asks(3)
    await harness.tick()
    harness.registry.lacking = {"lora@1"}
    canary = await harness.asks(40)
    assert ("candidate", "lora@1") in {variant_of(each) for each in canary}
    for _ in range(3):
        assert await harness.tick()
    assert (await harness.rollout()).state is RolloutState.CANARY

    harness.registry.lacking = set()
    await harness.tick()
    assert (await harness.rollout()).state is RolloutState.PROMOTED
