import asyncio
from collections.abc import AsyncIterator, Collection, Sequence

import pytest

from services.trainer.tests.fakes import ADA, Registry, model_files
from tidemill_core.errors import DependencyUnavailable
from tidemill_testkit.polling import eventually
from tidemill_trainer.application.ports import VersionName
from tidemill_trainer.domain.model_version import VersionState
from tidemill_trainer.domain.sources import HuggingFaceSource
from tidemill_trainer.entrypoints.workers import ImportWorker

SOURCE = HuggingFaceSource(repository="org/model")
COMMIT = "a" * 40


class PendingInMemory:
    """Returns the given versions that are IMPORTING."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.names: list[VersionName] = []
        self.asked = 0
        self.away = False

    async def imports(self, *, without: Collection[str] = ()) -> Sequence[VersionName]:
        self.asked += 1
        if self.away:
            message = "no answer"
            raise DependencyUnavailable(message, dependency="mongodb")
        states = [
            (name, (await self._registry.versions.get(name.project, name.version)).state)
            for name in self.names
            if name.project not in without
        ]
        return [name for name, state in states if state is VersionState.IMPORTING]


@pytest.fixture
def pending(registry: Registry) -> PendingInMemory:
    return PendingInMemory(registry)


@pytest.fixture
async def worker(registry: Registry, pending: PendingInMemory) -> AsyncIterator[ImportWorker]:
    patient = ImportWorker(pending=pending, fetch=registry.fetch, max_concurrent=2, retry_after_s=30.0)
    running = asyncio.create_task(patient.run())
    await eventually(lambda: pending.asked == 1)
    yield patient
    running.cancel()
    await asyncio.wait([running])


async def request(registry: Registry, pending: PendingInMemory, model: str) -> None:
    version = (await registry.begin(SOURCE, model=model)).version
    pending.names.append(VersionName(project="acme", version=version.id))


async def state_of(registry: Registry, version: str) -> VersionState:
    return (await registry.browse.version(ADA, version)).state


async def test_a_notified_worker_fetches_at_once(
    registry: Registry, pending: PendingInMemory, worker: ImportWorker
) -> None:
    registry.hub.publish("org/model", COMMIT, model_files())
    await request(registry, pending, "m")

    worker.enqueue()

    await eventually(lambda: len(registry.versions.published) == 1)
    assert await state_of(registry, "m@1") is VersionState.READY


async def test_an_import_that_waits_is_tried_again(registry: Registry, pending: PendingInMemory) -> None:
    registry.hub.away = True
    await request(registry, pending, "m")
    impatient = ImportWorker(pending=pending, fetch=registry.fetch, max_concurrent=2, retry_after_s=0.02)
    running = asyncio.create_task(impatient.run())
    await eventually(lambda: pending.asked > 3)

    registry.hub.away = False
    registry.hub.publish("org/model", COMMIT, model_files())

    await eventually(lambda: len(registry.versions.published) == 1)
    running.cancel()
    await asyncio.wait([running])


async def test_an_import_that_breaks_does_not_end_the_others(
    registry: Registry, pending: PendingInMemory, worker: ImportWorker
) -> None:
    registry.hub.publish("org/model", COMMIT, model_files())
    registry.hub.fails_at["config.json"] = ZeroDivisionError()
    await request(registry, pending, "a")
    await request(registry, pending, "b")

    worker.enqueue()
    await eventually(lambda: len(registry.versions.published) == 1)
    worker.enqueue()

    await eventually(lambda: len(registry.versions.published) == 2)
    assert await state_of(registry, "a@1") is await state_of(registry, "b@1") is VersionState.READY


async def test_a_store_that_is_away_is_asked_again(
    registry: Registry, pending: PendingInMemory, worker: ImportWorker
) -> None:
    registry.hub.publish("org/model", COMMIT, model_files())
    await request(registry, pending, "m")
    pending.away = True
    worker.enqueue()
    await eventually(lambda: pending.asked == 2)

    pending.away = False
    worker.enqueue()

    await eventually(lambda: len(registry.versions.published) == 1)
