import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.trainer.tests.training.fakes import Harness
from tidemill_core.application import ResourceKey
from tidemill_core.errors import DependencyUnavailable
from tidemill_testkit.polling import eventually
from tidemill_trainer.training.ports import RunFolder
from tidemill_trainer.training.reconcile import refresh_queue, sweep_folders


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(folder=tmp_path)


@asynccontextmanager
async def sweeping(harness: Harness, *busy: ResourceKey) -> AsyncIterator[None]:
    sweep = asyncio.create_task(sweep_folders(harness.folders, harness.runs, lambda: busy, every_s=0.02))
    yield
    sweep.cancel()
    await asyncio.wait([sweep])


async def left(harness: Harness, run: str) -> RunFolder:
    """Create a folder as left by a killed worker."""
    folder = await harness.folders.open(ResourceKey(project="acme", id=run))
    folder.checkpoints.mkdir()
    folder.examples.write_bytes(b"what a user wrote")
    return folder


async def test_what_was_left_of_other_trainings_is_swept_at_the_start_and_now_and_then(harness: Harness) -> None:
    before = await left(harness, "before")

    async with sweeping(harness):
        await eventually(lambda: not before.examples.exists())
        later = await left(harness, "later")
        await eventually(lambda: not later.examples.exists())

    assert (before.checkpoints.exists(), later.checkpoints.exists()) == (True, True)


async def test_checkpoints_are_kept_for_a_while_only(harness: Harness) -> None:
    folder = await left(harness, "old")
    os.utime(folder.path, (0, 0))

    async with sweeping(harness):
        await eventually(lambda: not folder.path.exists())


async def test_a_training_under_way_is_not_swept(harness: Harness) -> None:
    busy = await left(harness, "busy")

    async with sweeping(harness, ResourceKey(project="acme", id="busy")):
        other = await left(harness, "other")
        await eventually(lambda: not other.examples.exists())

    assert busy.examples.exists()


async def test_a_run_that_starts_during_a_sweep_is_not_swept(harness: Harness) -> None:
    folder, busy = await left(harness, "starting"), set[ResourceKey]()
    run = ResourceKey(project="acme", id="starting")

    async def start() -> None:
        busy.add(run)
        await harness.folders.open(run)
        folder.examples.write_bytes(b"what is trained on")

    await asyncio.gather(harness.folders.sweep(lambda: busy), start())

    assert folder.examples.read_bytes() == b"what is trained on"


async def test_waiting_runs_are_asked_again_and_again_also_while_the_store_does_not_answer(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = list[bool]()
    away = True

    async def refresh() -> None:
        if away:
            message = "no answer"
            raise DependencyUnavailable(message, dependency="mongo")

    monkeypatch.setattr(type(harness.queue_of_runs), "refresh", lambda _self: refresh())
    refreshing = asyncio.create_task(refresh_queue(harness.queue_of_runs, lambda: served.append(away), every_s=0.001))
    await eventually(lambda: True in served)
    away = False
    await eventually(lambda: False in served)
    refreshing.cancel()
    await asyncio.wait([refreshing])
