"""Training worker: queues deferred runs, trains queued runs and sweeps local folders."""

import asyncio
import math
from collections.abc import Sequence
from contextlib import suppress

import structlog

from tidemill_core.errors import TidemillError, isolated
from tidemill_kit.workers.fair_share import Turns
from tidemill_trainer.application.ports import PendingRuns, PlanName, RunName
from tidemill_trainer.application.start_deferred_run import StartDeferredRun
from tidemill_trainer.application.train_run import TrainRun

_log = structlog.get_logger()

SWEEP_EVERY_S = 600.0


class TrainingWorker:
    """Polls for runs, periodically and when notified; retries each until it has ended."""

    def __init__(
        self, *, pending: PendingRuns, max_concurrent: int, poll_interval_s: float, sweep_every_s: float = SWEEP_EVERY_S
    ) -> None:
        self._pending = pending
        self._turns = Turns(max_concurrent)
        self._poll_interval_s = poll_interval_s
        self._sweep_every_s = sweep_every_s
        self._swept_at = -math.inf
        self._enqueued = asyncio.Event()
        self._running: set[RunName] = set()

    def enqueue(self) -> None:
        """Notify the worker of new work."""
        self._enqueued.set()

    async def run(self, train: TrainRun, start_deferred: StartDeferredRun) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as trainings:
            while True:
                self._enqueued.clear()
                await self._sweep(train)
                await self._start_deferred(start_deferred)
                for name in await self._waiting():
                    self._running.add(name)
                    trainings.create_task(self._train(train, name))
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_interval_s):
                        await self._enqueued.wait()

    async def _sweep(self, train: TrainRun) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._swept_at + self._sweep_every_s:
            return
        self._swept_at = now
        try:
            await train.sweep(self._running)
        except OSError as error:
            _log.warning("training_folders_not_swept", why=error.strerror)

    async def _start_deferred(self, start_deferred: StartDeferredRun) -> None:
        for name in await self._with_deferred_runs():
            try:
                await start_deferred.named(name)
            except TidemillError as error:
                facts = {"project": name.project, "plan": name.plan}
                _log.warning("deferred_run_not_started", reason=error.reason, why=error.message, **facts)

    async def _with_deferred_runs(self) -> Sequence[PlanName]:
        try:
            return await self._pending.deferred()
        except TidemillError as error:
            _log.warning("deferred_plans_not_found", reason=error.reason, why=error.message)
            return []

    async def _waiting(self) -> list[RunName]:
        try:
            names = await self._pending.runs(without=self._turns.crowded)
            return [name for name in names if name not in self._running]
        except TidemillError as error:
            _log.warning("training_runs_not_found", reason=error.reason, why=error.message)
            return []

    async def _train(self, train: TrainRun, name: RunName) -> None:
        facts = {"project": name.project, "run": name.run}
        try:
            with isolated():
                async with self._turns.of(name.project):
                    done = await train(name)
                _log.info("training_finished" if done else "training_postponed", **facts)
        except TidemillError as error:
            _log.warning("training_interrupted", reason=error.reason, why=error.message, **facts)
        except Exception as error:  # noqa: BLE001 - one run that breaks must not end the others; it is tried again
            _log.error("training_broken", exc_info=error, **facts)
        finally:
            self._running.discard(name)
