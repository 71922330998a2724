"""A rollout of an index version never replaces one that went live meanwhile, promoted or rolled back."""

import pytest

from services.inference.tests.fakes import ADA
from services.inference.tests.rollouts.rollout_fakes import RolloutHarness
from services.inference.tests.rollouts.test_index_rollouts import INDEXED, canary, passed, promoted
from tidemill_inference.rollouts.domain.errors import IndexNotReady, LiveIndexChanged, NoActiveRollout
from tidemill_inference.rollouts.domain.rollout import (
    RolloutState,
    RolloutWasPromoted,
    RolloutWasRefused,
    RolloutWasRolledBack,
)
from tidemill_inference.rollouts.domain.step_counts import Reason


def six_goes_live(harness: RolloutHarness) -> None:
    harness.indexes.live_now, harness.indexes.ready = 6, {4, 5}


@pytest.mark.parametrize(("live", "ready"), [(6, {4, 5}), (5, {4})])
async def test_a_verdict_on_what_is_live_no_more_or_on_what_is_live_already_starts_none(
    live: int, ready: set[int]
) -> None:
    harness = RolloutHarness(INDEXED)
    harness.indexes.live_now, harness.indexes.ready = live, ready

    await passed(harness)

    refused = harness.published[-1]
    assert isinstance(refused, RolloutWasRefused)
    assert (refused.reason, refused.message) == (
        Reason.BASELINE_CHANGED,
        f"index version {live} is live by now, which it was not compared with",
    )
    assert (await harness.deployment()).rollout is None


async def test_a_canary_is_taken_back_and_compared_again_when_another_version_goes_live() -> None:
    harness = await canary()
    six_goes_live(harness)

    with pytest.raises(LiveIndexChanged, match="version 6 is live by now"):
        await harness.promote(ADA, harness.command("now"))
    await harness.tick()

    back, again = harness.published[-2:]
    assert isinstance(back, RolloutWasRolledBack)
    assert isinstance(again, RolloutWasRefused)
    assert back.reason is again.reason is Reason.BASELINE_CHANGED
    assert (harness.indexes.promoted, harness.indexes.live_now) == ([], 6)


async def test_a_decided_promotion_does_not_replace_what_went_live_before_it() -> None:
    harness = await promoted()
    six_goes_live(harness)

    await harness.tick()

    rollout = await harness.rollout()
    assert (rollout.state, rollout.unfinished) == (RolloutState.ROLLED_BACK, False)
    assert rollout.message.startswith("BASELINE_CHANGED: ")
    assert (harness.indexes.promoted, harness.indexes.live_now) == ([], 6)


async def test_a_promotion_is_not_rolled_back_where_another_version_replaced_it() -> None:
    early, late = await promoted(), await promoted()
    for harness in (early, late):
        await harness.tick()
    six_goes_live(early)

    with pytest.raises(NoActiveRollout, match="index version 6 is live by now, and not 5"):
        await early.roll_back(ADA, early.command("back"))
    await late.roll_back(ADA, late.command("back"))
    six_goes_live(late)
    await late.tick()

    assert (early.indexes.live_now, late.indexes.live_now) == (6, 6)
    assert (await early.rollout()).state is RolloutState.PROMOTED
    rollout = await late.rollout()
    assert (rollout.state, rollout.unfinished) == (RolloutState.ROLLED_BACK, False)
    assert "version 6 is live by now" in rollout.message


async def test_what_passed_while_a_promoted_version_is_being_made_live_is_compared_again() -> None:
    harness = await promoted()

    await passed(harness, "e2")

    refused = harness.published[-1]
    assert isinstance(refused, RolloutWasRefused)
    assert refused.reason is Reason.BASELINE_CHANGED
    assert refused.message == "what is searched is being changed by the rollout of index version 5 of handbook"


async def test_a_promotion_is_not_rolled_back_where_rag_has_the_version_before_no_more() -> None:
    harness = await promoted()
    await harness.tick()
    harness.indexes.ready = set()

    with pytest.raises(IndexNotReady):
        await harness.roll_back(ADA, harness.command("back"))

    assert (await harness.rollout()).state is RolloutState.PROMOTED


async def test_a_rollback_whose_version_is_lost_behind_the_decision_leaves_the_rollout_promoted() -> None:
    harness = await promoted()
    await harness.tick()
    await harness.roll_back(ADA, harness.command("back"))
    harness.indexes.ready = set()

    await harness.tick()

    rollout = await harness.rollout()
    assert (rollout.state, rollout.unfinished, harness.indexes.live_now) == (RolloutState.PROMOTED, False, 5)
    event = harness.published[-1]
    assert isinstance(event, RolloutWasPromoted)
    assert event.reason is Reason.INDEX_NOT_READY
