import asyncio
import os
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from services.trainer.tests.fakes import ADA
from services.trainer.tests.training_fakes import Harness, dataset_version
from tidemill_core.application import PageRequest
from tidemill_testkit.polling import eventually
from tidemill_trainer.application.ports import PlanName, RunFolder, RunName
from tidemill_trainer.entrypoints.training_worker import TrainingWorker


@dataclass
class PendingInMemory:
    """Returns the given runs and plans."""

    names: list[RunName] = field(default_factory=list)
    plans: list[PlanName] = field(default_factory=list)

    async def runs(self, *, without: Collection[str] = ()) -> Sequence[RunName]:
        return [name for name in self.names if name.project not in without]

    async def deferred(self) -> Sequence[PlanName]:
        return self.plans


@pytest.fixture
async def harness(tmp_path: Path) -> Harness:
    return await Harness(folder=tmp_path).with_base()


@asynccontextmanager
async def working(harness: Harness, *runs: RunName, with_deferred_work: Sequence[PlanName] = ()) -> AsyncIterator[None]:
    pending = PendingInMemory([*runs], [*with_deferred_work])
    worker = TrainingWorker(pending=pending, max_concurrent=1, poll_interval_s=0.02, sweep_every_s=0.02)
    running = asyncio.create_task(worker.run(harness.train, harness.start_deferred))
    yield
    running.cancel()
    await asyncio.wait([running])


async def left(harness: Harness, run: str) -> RunFolder:
    """Create a folder as left by a killed worker."""
    folder = await harness.folders.open(RunName(project="acme", run=run))
    folder.checkpoints.mkdir()
    folder.examples.write_bytes(b"what a user wrote")
    return folder


async def test_what_was_left_of_other_trainings_is_swept_at_the_start_and_now_and_then(harness: Harness) -> None:
    before = await left(harness, "before")

    async with working(harness):
        await eventually(lambda: not before.examples.exists())
        later = await left(harness, "later")
        await eventually(lambda: not later.examples.exists())

    assert (before.checkpoints.exists(), later.checkpoints.exists()) == (True, True)


async def test_checkpoints_are_kept_for_a_while_only(harness: Harness) -> None:
    folder = await left(harness, "old")
    os.utime(folder.path, (0, 0))

    async with working(harness):
        await eventually(lambda: not folder.path.exists())


async def test_a_training_under_way_is_not_swept(harness: Harness) -> None:
    harness.trainings.gate = asyncio.Event()
    name = await harness.queued()

    async with working(harness, name):
        await harness.trainings.begun.wait()
        other = await left(harness, "other")
        await eventually(lambda: not other.examples.exists())
        assert (await harness.folders.open(name)).examples.exists()


async def test_a_deferred_run_is_queued_once_though_the_resuming_process_was_killed(harness: Harness) -> None:
    name = await harness.with_deferred_work(1)

    async def finished() -> bool:
        return (await harness.plans.get("acme", "lora")).deferred is None

    async with working(harness, with_deferred_work=[PlanName(project="acme", plan="deleted"), name]):
        await eventually(finished)

    await harness.start_deferred.named(name)
    (run,) = (await harness.browse.list_runs(ADA, PageRequest(), plan="lora")).items
    assert (run.dataset, len(harness.runs.published)) == (dataset_version(1), 1)
