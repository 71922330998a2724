"""What ingest does without being asked: it sweeps, and makes dataset versions of what curations offer."""

import asyncio
from contextlib import suppress
from dataclasses import asdict

import structlog

from tidemill_ingest.application.dataset_ports import DatasetName, Waiting
from tidemill_ingest.application.publish_versions import PublishVersions
from tidemill_ingest.application.sweep import Sweep
from tidemill_ingest.application.sweep_datasets import SweepDatasets
from tidemill_kit.core.errors import DependencyUnavailable, TidemillError, isolated
from tidemill_kit.workers.fair_share import Turns

_log = structlog.get_logger(__name__)


async def sweep_for_ever(sweep: Sweep, datasets: SweepDatasets, *, every_s: float) -> None:
    """Sweep at once and then again and again; a dependency that is down is met again next time."""
    while True:
        try:
            swept = await sweep()
            parts = await datasets()
        except DependencyUnavailable as error:
            _log.warning("sweep_postponed", dependency=error.dependency, why=error.message)
        else:
            _log.info("sweep_finished", **asdict(swept), dataset_parts=parts)
        await asyncio.sleep(every_s)


class DatasetWorker:
    """Searches for offers when notified and once in a while; what cannot be done now is tried again."""

    def __init__(
        self, *, waiting: Waiting, publish: PublishVersions, retry_after_s: float, max_concurrent: int
    ) -> None:
        self._waiting = waiting
        self._publish = publish
        self._retry_after_s = retry_after_s
        self._turns = Turns(max_concurrent)
        self._enqueued = asyncio.Event()
        self._running: set[DatasetName] = set()

    def enqueue(self) -> None:
        """Look for work at once."""
        self._enqueued.set()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as works:
            while True:
                self._enqueued.clear()
                for name in await self._names():
                    self._running.add(name)
                    works.create_task(self._work(name))
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._retry_after_s):
                        await self._enqueued.wait()

    async def _names(self) -> list[DatasetName]:
        try:
            names = await self._waiting.datasets(without=self._turns.crowded)
            return [name for name in names if name not in self._running]
        except TidemillError as error:
            _log.warning("datasets_not_found", reason=error.reason, why=error.message)
            return []

    async def _work(self, name: DatasetName) -> None:
        done, facts = False, {"project": name.project, "dataset": name.dataset}
        try:
            with isolated():
                async with self._turns.of(name.project):
                    done = await self._publish(name)
                _log.info("dataset_work_finished" if done else "dataset_work_postponed", **facts)
        except TidemillError as error:
            _log.warning("dataset_work_interrupted", reason=error.reason, why=error.message, **facts)
        except Exception as error:  # noqa: BLE001 - one dataset that breaks must not end the others; it is tried again
            _log.error("dataset_work_broken", exc_info=error, **facts)
        finally:
            self._running.discard(name)
            if done:
                self.enqueue()  # an offer that came while the last one was saved was passed over
