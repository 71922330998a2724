"""The workers of rollouts: what they reconcile, what they keep loaded, and what they let go."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

from services.inference.tests.fakes import ADA, ScriptedEngine, ScriptedEngines, question
from services.inference.tests.rollouts.rollout_fakes import HELPDESK, Active, Registered, RolloutHarness
from tidemill_core.application import Request
from tidemill_core.errors import DependencyUnavailable
from tidemill_core.grpc.context import current_caller
from tidemill_inference.deployments.ports import DeploymentRef
from tidemill_inference.engines.ports import ModelVersion
from tidemill_inference.generation.domain.outcome import AnswerOutcome
from tidemill_inference.rollouts.domain.rollout import RolloutState
from tidemill_inference.rollouts.domain.step_counts import LIVE, Outcome
from tidemill_inference.rollouts.follow_ups import DROPPED, FollowUps
from tidemill_inference.rollouts.reconcile import RolloutWorker
from tidemill_testkit.polling import eventually


class Watched(ScriptedEngines):
    """The desk's engines, as one replica keeps them."""

    def __init__(self, harness: RolloutHarness) -> None:
        super().__init__(**harness.harness.engines.engines)

    async def prepare(self, project: str, model: ModelVersion, *, holder: str) -> None:
        assert current_caller().project == project
        await super().prepare(project, model, holder=holder)

    @property
    def loaded(self) -> list[str]:
        return sorted(model for _, model, _ in self.kept)


class Leases:
    """One after the other, each with the next epoch."""

    def __init__(self) -> None:
        self.epoch = 0
        self._free = asyncio.Lock()

    @asynccontextmanager
    async def held(self, deployment: DeploymentRef) -> AsyncIterator[int | None]:
        assert deployment == HELPDESK
        if self._free.locked():
            yield None
            return
        async with self._free:
            self.epoch += 1
            yield self.epoch


class SlowlyRegistered(Registered):
    """A registry that takes its time."""

    PAUSE_S = 0.3

    async def check(self, project: str, model: str) -> None:
        await asyncio.sleep(self.PAUSE_S)
        await super().check(project, model)


class Unreachable(Registered):
    """A registry that never answers, and remembers when it was asked."""

    def __init__(self) -> None:
        super().__init__(down=DependencyUnavailable("it is down", dependency="trainer"))
        self.asked = list[float]()

    async def check(self, project: str, model: str) -> None:
        self.asked.append(time.monotonic())
        await super().check(project, model)


def worker(harness: RolloutHarness, engines: Watched, leases: Leases, *, tick_s: float = 0.01) -> RolloutWorker:
    return RolloutWorker(
        active=Active(harness),
        leases=leases,
        deployments=harness.harness.deployments,
        models=harness.harness.registry,
        engines=engines,
        forget=harness.forget,
        poll_interval_s=0.02,
        tick_s=tick_s,
    )


async def test_a_rollout_is_reconciled_to_its_end_and_every_replica_keeps_its_candidate_loaded() -> None:
    harness, leases = RolloutHarness(), Leases()
    engines = [Watched(harness), Watched(harness)]
    replicas = [asyncio.create_task(worker(harness, each, leases).run(harness.reconcile)) for each in engines]
    await harness.passes_the_gate()

    async def ready() -> bool:
        return (await harness.rollout()).ready

    await eventually(ready)
    await eventually(lambda: [each.loaded for each in engines] == [["lora@1"], ["lora@1"]])
    while (await harness.rollout()).active:
        await harness.asks(1)
        await asyncio.sleep(0.005)

    assert (await harness.rollout()).state is RolloutState.PROMOTED
    await eventually(lambda: [each.loaded for each in engines] == [[], []])
    assert leases.epoch == 1
    for replica in replicas:
        replica.cancel()
    await asyncio.wait(replicas)


async def test_a_candidate_that_took_long_to_load_holds_up_its_steps_no_longer() -> None:
    harness = RolloutHarness()
    harness.registry = SlowlyRegistered()
    reconcile = replace(harness.reconcile, prepare=replace(harness.reconcile.prepare, candidates=harness.registry))
    running = asyncio.create_task(worker(harness, Watched(harness), Leases()).run(reconcile))
    await harness.passes_the_gate()

    async def canary() -> bool:
        await harness.asks(1)
        return (await harness.rollout()).step == 1

    async with asyncio.timeout(SlowlyRegistered.PAUSE_S + 2.5):
        await eventually(canary)
    running.cancel()
    await asyncio.wait([running])


async def test_a_rollout_that_begins_right_after_another_is_reconciled_too() -> None:
    harness = RolloutHarness()
    engines = Watched(harness)
    running = asyncio.create_task(worker(harness, engines, Leases(), tick_s=0.1).run(harness.reconcile))

    async def ready() -> bool:
        return (await harness.rollout()).ready

    await harness.passes_the_gate()
    await eventually(ready)
    await eventually(lambda: engines.loaded == ["lora@1"])
    await harness.promote(ADA, harness.command("p"))
    await asyncio.sleep(0.1)  # the first one's tender has just left, and its candidate is still kept
    await harness.passes_the_gate("e2", candidate="lora@2")
    await eventually(ready)

    await eventually(lambda: engines.loaded == ["lora@2"])
    running.cancel()
    await asyncio.wait([running])


async def test_what_fails_again_and_again_waits_longer_each_time_until_it_is_enqueued() -> None:
    harness, registry, leases = RolloutHarness(), Unreachable(), Leases()
    reconcile = replace(harness.reconcile, prepare=replace(harness.reconcile.prepare, candidates=registry))
    quick, slow = worker(harness, Watched(harness), leases), worker(harness, Watched(harness), leases, tick_s=60)
    await harness.passes_the_gate()

    running = asyncio.create_task(quick.run(reconcile))
    await eventually(lambda: len(registry.asked) == 6)
    running.cancel()
    await asyncio.wait([running])
    pauses = [later - earlier for earlier, later in pairwise(registry.asked)]
    assert all(pause >= 0.009 * 2**number for number, pause in enumerate(pauses, start=1))

    running = asyncio.create_task(slow.run(reconcile))
    await eventually(lambda: len(registry.asked) == 7)
    slow.enqueue(HELPDESK)
    await eventually(lambda: len(registry.asked) == 8)
    running.cancel()
    await asyncio.wait([running])


async def test_what_a_process_that_died_has_left_is_cleared_away_when_the_next_one_starts() -> None:
    harness = RolloutHarness()
    left = Outcome(inference="i1", rollout="ended", step=0, variant=LIVE, failed=False, total_s=1.0)
    await harness.outcomes.record(ADA.project, left)
    harness.harness.clock.advance(timedelta(hours=2))

    running = asyncio.create_task(worker(harness, Watched(harness), Leases()).run(harness.reconcile))

    async def gone() -> bool:
        return not await harness.outcomes.of_step(ADA.project, "ended", 0)

    await eventually(gone)
    running.cancel()
    await asyncio.wait([running])


async def answered_live(harness: RolloutHarness, number: int) -> AnswerOutcome:
    await harness.answer.whole(ADA, question(f"What is {number}?"), request=Request(id=f"w{number}", digest="d"))
    return harness.observed.pop()


async def test_shadows_wait_beside_the_answers_and_are_dropped_when_too_many() -> None:
    harness = RolloutHarness(candidate=ScriptedEngine())
    await harness.is_rolling()
    harness.candidate.gate.clear()
    follow_ups = FollowUps(record=harness.note, waiting=2, max_concurrent=1)
    before = DROPPED.labels("shadow")._value.get()  # noqa: SLF001 - the metric's own reading
    running = asyncio.create_task(follow_ups.run(harness.shadow))

    for number in range(5):
        follow_ups.observe(await answered_live(harness, number))
        await asyncio.sleep(0.01)

    rollout = await harness.rollout()
    assert len(await harness.outcomes.of_step(ADA.project, rollout.id, 0)) == 5
    assert harness.candidate.runs == 1
    assert DROPPED.labels("shadow")._value.get() - before == 2  # noqa: SLF001 - the metric's own reading
    harness.candidate.gate.set()
    await eventually(lambda: harness.candidate.runs == 3)
    running.cancel()
    await asyncio.wait([running])
