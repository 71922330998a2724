"""An index version goes to users by the engine that models go by: shadow, canary, promoted or back."""

from dataclasses import replace

import pytest

from services.inference.tests.fakes import ADA, writing
from services.inference.tests.rollouts.rollout_fakes import POLICY, RolloutHarness, crud_of
from services.inference.tests.rollouts.rollout_records import records, variant_of
from tidemill_core.errors import DependencyUnavailable
from tidemill_inference.deployments.domain.configuration import Retrieval
from tidemill_inference.deployments.mongo import DEPLOYMENTS
from tidemill_inference.generation.domain.question import Purpose
from tidemill_inference.rollouts.domain.errors import IndexNotReady
from tidemill_inference.rollouts.domain.policy import RolloutPolicy
from tidemill_inference.rollouts.domain.rollout import (
    RolloutHasAdvanced,
    RolloutHasStarted,
    RolloutState,
    RolloutWasPromoted,
    RolloutWasRefused,
    RolloutWasRolledBack,
)
from tidemill_inference.rollouts.domain.step_counts import Reason

INDEXED = replace(POLICY, index_gate="index_gate")


async def passed(harness: RolloutHarness, evaluation: str = "e1", **changes: str) -> None:
    """Let index version 5 of the handbook pass its gate; 4 is live."""
    known = {"gate": "index_gate", "candidate": "handbook@5", "collection": "handbook"}
    await harness.passes_the_gate(evaluation, baseline_index=4, **{**known, **changes})


async def canary(policy: RolloutPolicy = INDEXED) -> RolloutHarness:
    """Return a deployment of whose requests every second one searches index version 5."""
    harness = RolloutHarness(policy)
    await passed(harness)
    await harness.tick()
    await harness.asks(3)
    await harness.tick()
    return harness


async def promoted() -> RolloutHarness:
    harness = await canary()
    while (await harness.rollout()).active:
        await harness.asks(1)
        await harness.tick()
    return harness


async def test_an_index_version_goes_through_shadow_and_canary_and_rag_makes_it_live() -> None:
    harness = RolloutHarness(INDEXED)
    digest = (await harness.deployment()).live.digest
    await passed(harness)
    await harness.tick()

    live = await harness.asks(3)
    shadows = await records(harness, Purpose.SHADOW)
    await harness.tick()
    answered = await harness.asks(12)
    while (await harness.rollout()).active:
        answered += await harness.asks(1)
        await harness.tick()
    assert harness.indexes.promoted == []
    await harness.tick()

    assert {variant_of(each) for each in (*live, *answered)} == {("live", "smollm2@1"), ("candidate", "smollm2@1")}
    assert [each.variant.index for each in shadows if each.variant] == [5, 5, 5]
    assert {(each.variant.name, each.variant.index) for each in answered if each.variant} == {
        ("live", 4),
        ("candidate", 5),
    }
    assert harness.indexes.promoted == [5]
    deployment = await harness.deployment()
    assert deployment.live.digest == digest
    assert deployment.rollout
    assert (deployment.rollout.state, deployment.rollout.unfinished) == (RolloutState.PROMOTED, False)
    assert [type(event) for event in harness.published] == [RolloutHasStarted, RolloutHasAdvanced, RolloutWasPromoted]
    assert not await harness.tick()
    assert harness.indexes.promoted == [5]


async def test_while_rag_does_not_answer_the_promotion_waits_and_no_other_candidate_begins() -> None:
    harness = await promoted()
    harness.indexes.down = DependencyUnavailable("no answer", dependency="rag")

    with pytest.raises(DependencyUnavailable):
        await harness.tick()
    assert (await harness.rollout()).unfinished
    stored = DEPLOYMENTS.encode(await harness.deployment())
    assert stored["rollout"]["active"], "so that a process that starts finds it"
    harness.indexes.down = None
    await passed(harness, "e2", candidate="handbook@4")
    refused = harness.published[-1]
    await harness.tick()

    assert isinstance(refused, RolloutWasRefused)
    assert refused.reason is Reason.BASELINE_CHANGED
    assert harness.indexes.promoted == [5]
    assert not (await harness.rollout()).unfinished


async def test_a_process_that_dies_behind_the_call_of_rag_promotes_once() -> None:
    harness = await promoted()

    def die() -> None:
        harness.indexes.when_promoted = None
        raise ConnectionError

    harness.indexes.when_promoted = die
    with pytest.raises(ConnectionError):
        await harness.tick()
    await harness.tick(epoch=2)

    assert harness.indexes.promoted == [5]
    assert not (await harness.rollout()).unfinished


@pytest.mark.parametrize(("at_rag", "calls"), [(True, [5, 4]), (False, [])])
async def test_a_promoted_index_version_is_taken_back_whether_rag_made_it_live_or_not_yet(
    *, at_rag: bool, calls: list[int]
) -> None:
    harness = await promoted()
    if at_rag:
        await harness.tick()

    await harness.roll_back(ADA, harness.command("back"))
    await harness.tick()

    rollout = await harness.rollout()
    assert (rollout.state, rollout.unfinished) == (RolloutState.ROLLED_BACK, False)
    assert (harness.indexes.promoted, harness.indexes.live_now) == (calls, 4)


async def test_it_is_promoted_by_hand_and_a_canary_taken_back_leaves_rag_alone() -> None:
    by_hand, back = await canary(), await canary()

    await by_hand.promote(ADA, by_hand.command("now"))
    await by_hand.tick()
    await back.roll_back(ADA, back.command("back"))
    await back.tick()

    assert (by_hand.indexes.promoted, back.indexes.promoted) == ([5], [])


async def test_one_that_is_retired_is_refused_or_taken_back_and_what_was_live_goes_on() -> None:
    early, late, last = RolloutHarness(INDEXED), await canary(), await promoted()
    for harness in (early, late, last):
        harness.indexes.ready = set()

    await passed(early)
    refused = early.published[-1]
    with pytest.raises(IndexNotReady):
        await late.promote(ADA, late.command("now"))
    while (await late.rollout()).active:
        await late.asks(1)
        await late.tick()
    await last.tick()

    assert isinstance(refused, RolloutWasRefused)
    assert refused.reason is Reason.INDEX_NOT_READY
    for harness in (late, last):
        event = harness.published[-1]
        assert isinstance(event, RolloutWasRolledBack)
        assert (event.reason, event.collection, event.index) == (Reason.INDEX_NOT_READY, "handbook", 5)
        assert not (await harness.rollout()).unfinished
        assert harness.indexes.promoted == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"collection": "faq", "candidate": "faq@5"}, Reason.NO_POLICY),
        ({"baseline": "another"}, Reason.BASELINE_CHANGED),
        ({"gate": "another_gate"}, None),
        ({"gate": "helpdesk_gate"}, None),
    ],
)
async def test_what_does_not_concern_the_deployment_starts_nothing(
    changes: dict[str, str], reason: Reason | None
) -> None:
    harness = RolloutHarness(INDEXED)

    await passed(harness, **changes)

    assert (await harness.deployment()).rollout is None
    assert [event.reason for event in harness.published if isinstance(event, RolloutWasRefused)] == [reason] * bool(
        reason
    )


async def test_the_same_file_applied_again_goes_on_with_the_rollout_and_another_search_ends_it() -> None:
    harness = await canary()
    crud = crud_of(harness)

    await crud.update(ADA, "helpdesk", change=lambda spec: spec, write=writing("same"))
    assert (await harness.rollout()).active
    pinned = Retrieval(collection="handbook", index=4)
    await crud.update(ADA, "helpdesk", change=lambda spec: replace(spec, retrieval=pinned), write=writing("pinned"))

    assert (await harness.rollout()).state is RolloutState.ROLLED_BACK
