import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from services.trainer.tests.fakes import eventually
from services.trainer.tests.training_fakes import World
from tidemill_trainer.application.ports import RunFolder, RunName
from tidemill_trainer.entrypoints.training_worker import TrainingWorker


@dataclass
class WantedInMemory:
    """Names the runs that it was given."""

    names: list[RunName] = field(default_factory=list)

    async def runs(self) -> Sequence[RunName]:
        return self.names


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return await World(folder=tmp_path).with_base()


@asynccontextmanager
async def working(world: World, *wanted: RunName) -> AsyncIterator[None]:
    worker = TrainingWorker(wanted=WantedInMemory([*wanted]), at_once=1, look_every_s=0.02, sweep_every_s=0.02)
    running = asyncio.create_task(worker.run(world.train))
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
