"""The workers of rollouts: what they tend, what they keep loaded, and what they let go."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

from services.inference.tests.fakes import ADA, ScriptedEngine, ScriptedEngines, question
from services.inference.tests.rollout_fakes import HELPDESK, Active, Registered, RolloutDesk
from tidemill_inference.application.answer_question import Answered
from tidemill_inference.application.ports import DeploymentRef, ModelVersion
from tidemill_inference.domain.rollout import RolloutState
from tidemill_inference.domain.step_counts import LIVE, Outcome
from tidemill_inference.entrypoints.rollout_workers import DROPPED, FollowUps, RolloutWorker
from tidemill_kit.application import Request
from tidemill_kit.errors import DependencyUnavailable
from tidemill_kit.grpc_context import current_caller
from tidemill_testkit.polling import eventually


class Watched(ScriptedEngines):
    """The desk's engines, as one replica keeps them."""

    def __init__(self, desk: RolloutDesk) -> None:
        super().__init__(**desk.desk.engines.engines)

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


def worker(desk: RolloutDesk, engines: Watched, leases: Leases, *, tick_s: float = 0.01) -> RolloutWorker:
    return RolloutWorker(
        active=Active(desk),
        leases=leases,
        deployments=desk.desk.deployments,
        models=desk.desk.registry,
        engines=engines,
        forget=desk.forget,
        look_every_s=0.02,
        tick_s=tick_s,
    )


async def test_a_rollout_is_tended_to_its_end_and_every_replica_keeps_its_candidate_loaded() -> None:
    desk, leases = RolloutDesk(), Leases()
    engines = [Watched(desk), Watched(desk)]
    replicas = [asyncio.create_task(worker(desk, each, leases).run(desk.tend)) for each in engines]
    await desk.passes_the_gate()

    async def ready() -> bool:
        return (await desk.rollout()).ready

    await eventually(ready)
    await eventually(lambda: [each.loaded for each in engines] == [["lora@1"], ["lora@1"]])
    while (await desk.rollout()).active:
        await desk.asks(1)
        await asyncio.sleep(0.005)

    assert (await desk.rollout()).state is RolloutState.PROMOTED
    await eventually(lambda: [each.loaded for each in engines] == [[], []])
    assert leases.epoch == 1
    for replica in replicas:
        replica.cancel()
    await asyncio.wait(replicas)


async def test_a_candidate_that_took_long_to_load_holds_up_its_steps_no_longer() -> None:
    desk = RolloutDesk()
    desk.registry = SlowlyRegistered()
    tend = replace(desk.tend, prepare=replace(desk.tend.prepare, candidates=desk.registry))
    running = asyncio.create_task(worker(desk, Watched(desk), Leases()).run(tend))
    await desk.passes_the_gate()

    async def canary() -> bool:
        await desk.asks(1)
        return (await desk.rollout()).step == 1

    async with asyncio.timeout(SlowlyRegistered.PAUSE_S + 2.5):
        await eventually(canary)
    running.cancel()
    await asyncio.wait([running])


async def test_a_rollout_that_begins_right_after_another_is_tended_too() -> None:
    desk = RolloutDesk()
    engines = Watched(desk)
    running = asyncio.create_task(worker(desk, engines, Leases(), tick_s=0.1).run(desk.tend))

    async def ready() -> bool:
        return (await desk.rollout()).ready

    await desk.passes_the_gate()
    await eventually(ready)
    await eventually(lambda: engines.loaded == ["lora@1"])
    await desk.promote(ADA, desk.settling("p"))
    await asyncio.sleep(0.1)  # the first one's tender has just left, and its candidate is still kept
    await desk.passes_the_gate("e2", candidate="lora@2")
    await eventually(ready)

    await eventually(lambda: engines.loaded == ["lora@2"])
    running.cancel()
    await asyncio.wait([running])


async def test_what_fails_again_and_again_waits_longer_each_time_until_it_is_woken() -> None:
    desk, registry, leases = RolloutDesk(), Unreachable(), Leases()
    tend = replace(desk.tend, prepare=replace(desk.tend.prepare, candidates=registry))
    quick, slow = worker(desk, Watched(desk), leases), worker(desk, Watched(desk), leases, tick_s=60)
    await desk.passes_the_gate()

    running = asyncio.create_task(quick.run(tend))
    await eventually(lambda: len(registry.asked) == 6)
    running.cancel()
    await asyncio.wait([running])
    pauses = [later - earlier for earlier, later in pairwise(registry.asked)]
    assert all(pause >= 0.009 * 2**number for number, pause in enumerate(pauses, start=1))

    running = asyncio.create_task(slow.run(tend))
    await eventually(lambda: len(registry.asked) == 7)
    slow.wake(HELPDESK)
    await eventually(lambda: len(registry.asked) == 8)
    running.cancel()
    await asyncio.wait([running])


async def test_what_a_process_that_died_has_left_is_cleared_away_when_the_next_one_starts() -> None:
    desk = RolloutDesk()
    left = Outcome(inference="i1", rollout="ended", step=0, variant=LIVE, failed=False, total_s=1.0)
    await desk.outcomes.note(ADA.project, left)
    desk.desk.clock.advance(timedelta(hours=2))

    running = asyncio.create_task(worker(desk, Watched(desk), Leases()).run(desk.tend))

    async def gone() -> bool:
        return not await desk.outcomes.of_step(ADA.project, "ended", 0)

    await eventually(gone)
    running.cancel()
    await asyncio.wait([running])


async def answered_live(desk: RolloutDesk, number: int) -> Answered:
    await desk.answer.whole(ADA, question(f"What is {number}?"), request=Request(id=f"w{number}", digest="d"))
    return desk.observed.pop()


async def test_shadows_wait_beside_the_answers_and_are_dropped_when_too_many() -> None:
    desk = RolloutDesk(candidate=ScriptedEngine())
    await desk.is_rolling()
    desk.candidate.gate.clear()
    follow_ups = FollowUps(note=desk.note, waiting=2, at_once=1)
    before = DROPPED.labels("shadow")._value.get()  # noqa: SLF001 - the metric's own reading
    running = asyncio.create_task(follow_ups.run(desk.shadow))

    for number in range(5):
        follow_ups.observe(await answered_live(desk, number))
        await asyncio.sleep(0.01)

    rollout = await desk.rollout()
    assert len(await desk.outcomes.of_step(ADA.project, rollout.id, 0)) == 5
    assert desk.candidate.runs == 1
    assert DROPPED.labels("shadow")._value.get() - before == 2  # noqa: SLF001 - the metric's own reading
    desk.candidate.gate.set()
    await eventually(lambda: desk.candidate.runs == 3)
    running.cancel()
    await asyncio.wait([running])
