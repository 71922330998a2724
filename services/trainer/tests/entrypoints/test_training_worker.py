import asyncio
import os
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from services.trainer.tests.fakes import ADA
from services.trainer.tests.training_fakes import World, dataset_version
from tidemill_kit.application import PageRequest
from tidemill_testkit.polling import eventually
from tidemill_trainer.application.ports import PlanName, RunFolder, RunName
from tidemill_trainer.entrypoints.training_worker import TrainingWorker


@dataclass
class WantedInMemory:
    """Names the runs and the plans that it was given."""

    names: list[RunName] = field(default_factory=list)
    plans: list[PlanName] = field(default_factory=list)

    async def runs(self, *, without: Collection[str] = ()) -> Sequence[RunName]:
        return [name for name in self.names if name.project not in without]

    async def owed(self) -> Sequence[PlanName]:
        return self.plans


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return await World(folder=tmp_path).with_base()


@asynccontextmanager
async def working(world: World, *runs: RunName, owing: Sequence[PlanName] = ()) -> AsyncIterator[None]:
    wanted = WantedInMemory([*runs], [*owing])
    worker = TrainingWorker(wanted=wanted, at_once=1, look_every_s=0.02, sweep_every_s=0.02)
    running = asyncio.create_task(worker.run(world.train, world.settle))
    yield
    running.cancel()
    await asyncio.wait([running])


async def left(world: World, run: str) -> RunFolder:
    """Leave a folder as a killed worker does."""
    folder = await world.folders.open(RunName(project="acme", run=run))
    folder.checkpoints.mkdir()
    folder.examples.write_bytes(b"what a user wrote")
    return folder


async def test_what_was_left_of_other_trainings_is_swept_at_the_start_and_now_and_then(world: World) -> None:
    before = await left(world, "before")

    async with working(world):
        await eventually(lambda: not before.examples.exists())
        later = await left(world, "later")
        await eventually(lambda: not later.examples.exists())

    assert (before.checkpoints.exists(), later.checkpoints.exists()) == (True, True)


async def test_checkpoints_are_kept_for_a_while_only(world: World) -> None:
    folder = await left(world, "old")
    os.utime(folder.path, (0, 0))

    async with working(world):
        await eventually(lambda: not folder.path.exists())


async def test_a_training_under_way_is_not_swept(world: World) -> None:
    world.trainings.gate = asyncio.Event()
    name = await world.queued()

    async with working(world, name):
        await world.trainings.begun.wait()
        other = await left(world, "other")
        await eventually(lambda: not other.examples.exists())
        assert (await world.folders.open(name)).examples.exists()


async def test_what_a_plan_owes_is_queued_once_though_whoever_let_it_go_on_was_killed(world: World) -> None:
    name = await world.owing(1)

    async def settled() -> bool:
        return (await world.plans.get("acme", "lora")).owed is None

    async with working(world, owing=[PlanName(project="acme", plan="deleted"), name]):
        await eventually(settled)

    await world.settle.named(name)
    (run,) = (await world.browse.list_runs(ADA, PageRequest(), plan="lora")).items
    assert (run.dataset, len(world.runs.published)) == (dataset_version(1), 1)
