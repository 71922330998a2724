"""The controllers of rollouts: what they advance, and what they keep loaded."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import cast

from services.inference.tests.fakes import ADA, ScriptedEngines
from services.inference.tests.rollouts.rollout_fakes import HELPDESK, Active, Registered, RolloutHarness
from tidemill_core.application import Caller, Page, ResourceKey
from tidemill_inference.engines.ports import ModelVersion
from tidemill_inference.rollouts.domain.rollout import RolloutState
from tidemill_inference.rollouts.reconcile import (
    AdvanceRollout,
    HoldCandidate,
    RolloutControllers,
    rollout_controllers,
)
from tidemill_inference.rollouts.reconcile_rollout import ReconcileRollout
from tidemill_testkit.leases import InMemoryLeases
from tidemill_testkit.polling import eventually


class Watched(ScriptedEngines):
    """The desk's engines, as one replica keeps them."""

    def __init__(self, harness: RolloutHarness) -> None:
        super().__init__(**harness.harness.engines.engines)

    async def prepare(self, project: str, model: ModelVersion, *, holder: str) -> None:
        await super().prepare(project, model, holder=holder)

    @property
    def loaded(self) -> list[str]:
        return sorted(model for _, model, _ in self.kept)


class SlowlyRegistered(Registered):
    """A registry that takes its time."""

    PAUSE_S = 0.3

    async def check(self, caller: Caller, model: str) -> None:
        await asyncio.sleep(self.PAUSE_S)
        await super().check(caller, model)


@asynccontextmanager
async def replica(
    harness: RolloutHarness,
    engines: Watched,
    leases: InMemoryLeases,
    *,
    reconcile: ReconcileRollout | None = None,
    tick: timedelta = timedelta(seconds=0.01),
) -> AsyncIterator[RolloutControllers]:
    async def pending(_: str, /, *, without: frozenset[str]) -> Page[ResourceKey]:
        assert not without
        return Page(items=await Active(harness).all())

    answering = harness.harness
    controllers = rollout_controllers(
        AdvanceRollout(reconcile=reconcile or harness.reconcile, tick=tick),
        HoldCandidate(deployments=answering.deployments, models=answering.registry, engines=engines, tick=tick),
        pending=pending,
        leases=leases,
        max_concurrent=1,
        poll_interval=timedelta(seconds=0.02),
    )
    await controllers.advancing.start()
    await controllers.holding.start()
    yield controllers
    await controllers.holding.stop()
    await controllers.advancing.stop()


async def test_a_rollout_is_advanced_to_its_end_and_every_replica_keeps_its_candidate_loaded() -> None:
    harness = RolloutHarness()
    leases, engines = InMemoryLeases(), [Watched(harness), Watched(harness)]
    async with replica(harness, engines[0], leases), replica(harness, engines[1], leases):
        await harness.passes_the_gate()

        async def ready() -> bool:
            return (await harness.rollout()).ready

        await eventually(ready)
        await eventually(lambda: [each.loaded for each in engines] == [["lora@1"], ["lora@1"]])
        while (await harness.rollout()).active:
            assert leases.epoch(HELPDESK.key) == 1
            await harness.asks(1)
            await asyncio.sleep(0.005)

        assert (await harness.rollout()).state is RolloutState.PROMOTED
        await eventually(lambda: [each.loaded for each in engines] == [[], []])


async def test_one_place_is_enough_for_rollouts_that_last_long_and_each_keeps_its_lease() -> None:
    class Steps:
        """Rollouts that never end."""

        async def __call__(self, ref: ResourceKey, *, epoch: int) -> bool:
            taken[ref].append(epoch)
            return True

    taken = defaultdict[ResourceKey, list[int]](list)
    refs = [ResourceKey(project=HELPDESK.project, id=f"desk{number}") for number in range(3)]
    harness, leases = RolloutHarness(), InMemoryLeases()
    reconcile = cast("ReconcileRollout", Steps())
    async with replica(harness, Watched(harness), leases, reconcile=reconcile) as controllers:
        for ref in refs:
            controllers.advancing.enqueue(ref)
        await eventually(lambda: all(len(taken[ref]) > 3 for ref in refs))

    assert [set(taken[ref]) for ref in refs] == [{1}, {1}, {1}]
    assert [leases.epoch(ref.key) for ref in refs] == [1, 1, 1]


async def test_a_candidate_that_took_long_to_load_holds_up_its_steps_no_longer() -> None:
    harness = RolloutHarness()
    harness.registry = SlowlyRegistered()
    reconcile = replace(harness.reconcile, prepare=replace(harness.reconcile.prepare, candidates=harness.registry))
    async with replica(harness, Watched(harness), InMemoryLeases(), reconcile=reconcile):
        await harness.passes_the_gate()

        async def canary() -> bool:
            await harness.asks(1)
            return (await harness.rollout()).step == 1

        async with asyncio.timeout(SlowlyRegistered.PAUSE_S + 2.5):
            await eventually(canary)


async def test_a_rollout_that_begins_right_after_another_is_advanced_too() -> None:
    harness, tick = RolloutHarness(), timedelta(seconds=0.1)
    engines = Watched(harness)
    async with replica(harness, engines, InMemoryLeases(), tick=tick):

        async def ready() -> bool:
            return (await harness.rollout()).ready

        await harness.passes_the_gate()
        await eventually(ready)
        await eventually(lambda: engines.loaded == ["lora@1"])
        await harness.promote(ADA, harness.command("p"))
        await asyncio.sleep(tick.total_seconds())  # the first one is over, and its candidate still held
        await harness.passes_the_gate("e2", candidate="lora@2")
        await eventually(ready)

        await eventually(lambda: engines.loaded == ["lora@2"])


async def test_a_new_rollout_waits_for_no_resync() -> None:
    harness = RolloutHarness()
    async with replica(harness, Watched(harness), InMemoryLeases()) as controllers:
        await harness.passes_the_gate()
        controllers.enqueue(HELPDESK)

        assert (controllers.advancing.status.queued, controllers.holding.status.queued) == (1, 1)
