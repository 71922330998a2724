"""What evaluator does by itself: it queues what gates owe, and does the evaluations that are not finished."""

import asyncio
from contextlib import suppress

import structlog

from tidemill_evaluator.application.ports import EvaluationName, PendingEvaluations
from tidemill_evaluator.application.run_evaluation import RunEvaluation
from tidemill_evaluator.application.triggers import EvaluationTriggers
from tidemill_kit.core.errors import TidemillError, isolated
from tidemill_kit.workers.fair_share import Turns

_log = structlog.get_logger()


class Enqueue:
    """Notifies the worker that there is something to do; made before it, because what notifies it is made before it."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def __call__(self) -> None:
        """Look for work at once."""
        self._event.set()

    async def wait(self, *, max_s: float) -> None:
        """Return when notified, or after that time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max_s):
                await self._event.wait()
        self._event.clear()


class EvaluationWorker:
    """Searches for work when notified and once in a while; each evaluation is tried again until it is final."""

    def __init__(  # noqa: PLR0913 - what it looks for, what does it, and how often
        self,
        *,
        pending: PendingEvaluations,
        triggers: EvaluationTriggers,
        run: RunEvaluation,
        enqueue: Enqueue,
        max_concurrent: int,
        retry_after_s: float,
    ) -> None:
        self._pending = pending
        self._triggers = triggers
        self._run = run
        self._enqueue = enqueue
        self._turns = Turns(max_concurrent)
        self._retry_after_s = retry_after_s
        self._running: set[EvaluationName] = set()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as evaluations:
            while True:
                await self._queue_deferred()
                for name in await self._waiting():
                    self._running.add(name)
                    evaluations.create_task(self._do(name))
                await self._enqueue.wait(max_s=self._retry_after_s)

    async def _queue_deferred(self) -> None:
        """Queue what gates owe that were let go on by a process that died before it came to it."""
        try:
            for name in await self._pending.with_deferred_work():
                await self._triggers.gate_has_deferred_work(name.project, name.gate)
        except TidemillError as error:
            _log.warning("deferred_evaluations_not_queued", reason=error.reason, why=error.message)

    async def _waiting(self) -> list[EvaluationName]:
        try:
            names = await self._pending.evaluations(without=self._turns.crowded)
            return [name for name in names if name not in self._running]
        except TidemillError as error:
            _log.warning("evaluations_not_found", reason=error.reason, why=error.message)
            return []

    async def _do(self, name: EvaluationName) -> None:
        facts = {"project": name.project, "evaluation": name.evaluation}
        try:
            with isolated():
                async with self._turns.of(name.project):
                    done = await self._run(name)
                _log.info("evaluation_finished" if done else "evaluation_postponed", **facts)
        except TidemillError as error:
            _log.warning("evaluation_interrupted", reason=error.reason, why=error.message, **facts)
        except Exception as error:  # noqa: BLE001 - one evaluation that breaks must not end the others; tried again
            _log.error("evaluation_broken", exc_info=error, **facts)
        finally:
            self._running.discard(name)
