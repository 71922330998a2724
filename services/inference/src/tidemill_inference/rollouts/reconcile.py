"""Background work of rollouts: reconciling them, and keeping their candidates loaded."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import structlog

from tidemill_core.errors import TidemillError, isolated
from tidemill_core.grpc.context import acting_for
from tidemill_inference.deployments.ports import DeploymentRef, Deployments
from tidemill_inference.engines.ports import Engines, Models
from tidemill_inference.errors import DeploymentNotFound
from tidemill_inference.rollouts.domain.rollout import Rollout
from tidemill_inference.rollouts.outcomes import ForgetOutcomes
from tidemill_inference.rollouts.ports import ActiveRollouts, RolloutLeases
from tidemill_inference.rollouts.reconcile_rollout import ReconcileRollout

_LONGEST_PAUSE_S = 30.0
"""The longest backoff."""
_LONGEST_REST_S = 1.0
"""A pass that takes long is followed by a pause as long, up to this."""

_log = structlog.get_logger()


class _Pace:
    """The pause between two passes: a tick, doubled after each consecutive failure, ended at once by an enqueue."""

    def __init__(self, tick_s: float) -> None:
        self.enqueued = asyncio.Event()
        self._tick_s = self._rest_s = tick_s

    def well(self) -> None:
        """Reset the backoff."""
        self._rest_s = self._tick_s

    def failed(self) -> None:
        self._rest_s = max(self._tick_s, min(2 * self._rest_s, _LONGEST_PAUSE_S))

    async def rest(self, *, min_s: float = 0.0) -> None:
        await _set_within(self.enqueued, max(self._rest_s, min_s))
        if self.enqueued.is_set():
            self.enqueued.clear()
            self.well()


class RolloutWorker:
    """The controller: reconciles each active rollout under its lease, and keeps its candidate loaded in every replica.

    It polls for active rollouts every `poll_interval_s`, and reconciles each every `tick_s` and when enqueued, with
    exponential backoff after failures.
    """

    def __init__(  # noqa: PLR0913 - what one worker works with, once, in app.py
        self,
        *,
        active: ActiveRollouts,
        leases: RolloutLeases,
        deployments: Deployments,
        models: Models,
        engines: Engines,
        forget: ForgetOutcomes,
        poll_interval_s: float,
        tick_s: float,
    ) -> None:
        self._active = active
        self._leases = leases
        self._deployments = deployments
        self._models = models
        self._engines = engines
        self._forget = forget
        self._poll_interval_s = poll_interval_s
        self._tick_s = tick_s
        self._enqueued = asyncio.Event()
        self._running: dict[DeploymentRef, _Pace] = {}

    def enqueue(self, deployment: DeploymentRef) -> None:
        """Reconcile a deployment's rollout soon."""
        if deployment in self._running:
            self._running[deployment].enqueued.set()
        self._enqueued.set()

    async def run(self, reconcile: ReconcileRollout) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._clear_away())
            while True:
                self._enqueued.clear()
                for ref in await self._check():
                    if ref not in self._running:
                        self._running[ref] = _Pace(self._tick_s)
                        tasks.create_task(self._care(ref, reconcile))
                await _set_within(self._enqueued, self._poll_interval_s)

    async def _clear_away(self) -> None:
        """Delete what a crashed process has left; a failure is retried at the next start."""
        try:
            await self._forget()
        except TidemillError as error:
            _log.warning("outcomes_not_forgotten", reason=error.reason, why=error.message)

    async def _check(self) -> list[DeploymentRef]:
        try:
            return list(await self._active.all())
        except TidemillError as error:
            _log.warning("rollouts_not_listed", reason=error.reason, why=error.message)
            return []

    async def _care(self, ref: DeploymentRef, reconcile: ReconcileRollout) -> None:
        """Do both while the rollout is active; the next poll finds one that begins right after it."""
        reconciling, keeping_on = self._running[ref], _Pace(self._tick_s)
        with acting_for(ref.project):
            keeping = asyncio.create_task(self._again(ref, keeping_on, lambda: self._keep(ref, keeping_on)))
            try:
                await self._again(ref, reconciling, lambda: self._reconcile(ref, reconciling, reconcile))
            finally:
                keeping.cancel()
                await asyncio.wait({keeping})
                del self._running[ref]
                self._enqueued.set()

    async def _again(self, ref: DeploymentRef, pace: _Pace, once: Callable[[], Coroutine[Any, Any, bool]]) -> None:
        """Repeat a step until it returns False; failures are retried."""
        while True:
            try:
                with isolated():
                    if not await once():
                        return
                    pace.well()
            except TidemillError as error:
                pace.failed()
                _log.warning("rollout_not_reconciled", deployment=ref.id, reason=error.reason, why=error.message)
            except Exception as error:  # noqa: BLE001 - one rollout that breaks must not end the others
                pace.failed()
                _log.error("rollout_reconcile_broken", deployment=ref.id, exc_info=error)
            await pace.rest()

    async def _reconcile(self, ref: DeploymentRef, pace: _Pace, reconcile: ReconcileRollout) -> bool:
        """Reconcile the rollout to its end, or return True if another replica does."""
        async with self._leases.held(ref) as epoch:
            if epoch is None:
                return await self._rollout(ref) is not None
            while True:
                began = time.monotonic()
                if not await reconcile(ref, epoch=epoch):
                    return False
                pace.well()
                await pace.rest(min_s=min(time.monotonic() - began, _LONGEST_REST_S))

    async def _keep(self, ref: DeploymentRef, pace: _Pace) -> bool:
        """Keep the candidate loaded, so that no request waits for it; return whether there is another one."""
        rollout = await self._rollout(ref)
        if rollout is None or not rollout.ready:  # the tender loads it first, and says what is wrong with it
            return rollout is not None
        version = await self._models.resolve(ref.project, rollout.candidate.model, field="candidate")
        await self._engines.prepare(ref.project, version, holder=rollout.id)
        pace.well()
        try:
            while True:
                now = await self._rollout(ref)
                if now is None or now.id != rollout.id:
                    return now is not None
                await asyncio.sleep(self._tick_s)
        finally:
            await self._engines.release(ref.project, version, holder=rollout.id)

    async def _rollout(self, ref: DeploymentRef) -> Rollout | None:
        try:
            return (await self._deployments.get(ref.project, ref.id)).active_rollout
        except DeploymentNotFound:
            return None


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
