"""A crash between the writes of an experiment, and two replicas that decide at once."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from services.inference.tests.experiments.experiment_fakes import TONE, ExperimentHarness, tone
from services.inference.tests.fakes import ADA, writing
from services.inference.tests.rollouts.rollout_fakes import InMemoryOutcomes
from tidemill_core.application import Page, Request, ResourceKey
from tidemill_core.errors import DependencyUnavailable
from tidemill_inference.experiments.domain.experiment import Experiment
from tidemill_inference.experiments.domain.plan import Weighting
from tidemill_inference.experiments.domain.run import Change, EndReason
from tidemill_inference.experiments.domain.split import ExperimentHasEnded, ExperimentHasStarted
from tidemill_inference.experiments.reconcile import AdvanceExperiment
from tidemill_inference.rollouts.domain.step_counts import Outcome
from tidemill_kit.workers.controller import Controller
from tidemill_testkit.leases import InMemoryLeases
from tidemill_testkit.polling import eventually


async def dies(_experiment: Experiment) -> Experiment:
    message = "the process dies"
    raise DependencyUnavailable(message, dependency="mongodb")


async def test_what_died_before_the_deployment_had_its_arms_is_given_them_later_and_once() -> None:
    harness = ExperimentHarness()
    crashing = replace(harness.crud, hand_over=cast("Any", dies))
    with pytest.raises(DependencyUnavailable):
        await crashing.create(ADA, tone(), writing("c"))
    assert (await harness.deployment()).experiment is None

    assert await harness.tick()
    assert (await harness.crud.create(ADA, tone(), writing("c"))).run == await harness.run()
    assert await harness.tick()

    started = [each for each in harness.rollouts.published if isinstance(each, ExperimentHasStarted)]
    assert [each.experiment for each in started] == ["tone@1"]


async def test_what_died_before_the_deployment_gave_its_arms_back_is_released_later_and_once() -> None:
    harness = ExperimentHarness()
    await harness.starts()
    await harness.came("now", 2)
    with pytest.raises(DependencyUnavailable):
        await replace(harness.crud, hand_over=cast("Any", dies)).stop(ADA, "tone", writing("s"))
    run = await harness.run()
    assert (run.running, run.released, run.arms[0].counts.users) == (False, False, 2)

    assert not await harness.tick()
    assert not await harness.tick()

    assert (await harness.deployment()).experiment is None
    ended = [each for each in harness.rollouts.published if isinstance(each, ExperimentHasEnded)]
    assert [(each.reason, each.decided_by) for each in ended] == [("BY_HAND", ADA.subject)]


async def test_a_replica_that_is_late_neither_ends_nor_begins_a_run_again() -> None:
    harness = ExperimentHarness()
    await harness.starts()
    late = await harness.stored()
    await harness.crud.stop(ADA, "tone", writing("s"))
    assert late.run is not None
    decided = Change(reason=EndReason.BEST_ARM, best="lora")
    counts = await harness.count(late)

    def change(stored: Experiment) -> None:
        assert late.run is not None
        stored.reconcile(decided, counts, seen=late.run, now=harness.clock.now())

    await harness.experiments.update(TONE.project, TONE.id, change, request=Request.internal())
    assert (await harness.run()).reason is EndReason.BY_HAND
    await harness.hand_over(late)
    assert (await harness.deployment()).experiment is None


async def test_adaptive_weights_move_in_experiment_and_deployment_alike() -> None:
    harness = ExperimentHarness()
    await harness.starts(weighting=Weighting.ADAPTIVE)
    await harness.came("now", 20, failed=8)
    await harness.came("lora", 20, failed=5)

    assert await harness.tick()

    run, split = await harness.run(), (await harness.deployment()).experiment
    assert split is not None
    assert (run.epoch, split.epoch) == (1, 1)
    assert {arm.name: arm.weight for arm in run.arms} == {arm.name: arm.weight for arm in split.arms}
    assert run.arms[1].weight > 60
    assert await harness.tick()
    assert (await harness.run()).epoch == 1


async def test_the_pause_between_two_looks_is_not_shortened_by_what_is_found_to_run() -> None:
    checks, found = list[ResourceKey](), list[str]()

    async def check(ref: ResourceKey) -> bool:
        checks.append(ref)
        return True

    async def running(token: str, /, *, without: frozenset[str]) -> Page[ResourceKey]:
        assert not without
        found.append(token)
        return Page(items=[TONE], next_token="")

    controller = Controller(
        "experiments",
        reconcile=AdvanceExperiment(reconcile=cast("Any", check), tick=timedelta(hours=1)),
        pending=running,
        leases=InMemoryLeases(),
        max_concurrent=1,
        poll_interval=timedelta(milliseconds=2),
    )
    await controller.start()
    try:
        await eventually(lambda: checks and len(found) > 5)
    finally:
        await controller.stop()

    assert checks == [TONE]


async def test_outcomes_are_read_once_for_all_who_ask_at_the_same_time() -> None:
    harness, reads = ExperimentHarness(), list[str]()
    started = await harness.starts()
    await harness.came("now", 3)

    class Slow(InMemoryOutcomes):
        async def mark_of_run(self, project: str, run: str) -> object:
            return await harness.outcomes.mark_of_run(project, run)

        async def of_run(self, project: str, run: str) -> Sequence[Outcome]:
            reads.append(run)
            await asyncio.sleep(0)
            return await harness.outcomes.of_run(project, run)

    count = replace(harness.count, outcomes=Slow())
    found = await asyncio.gather(*(count.compared(started) for _ in range(3)))

    assert reads == ["tone@1"]
    assert [counts.answers for counts in found] == [3, 3, 3]
    assert not count.counting
