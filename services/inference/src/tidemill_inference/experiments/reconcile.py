"""The controller of experiments."""

import time
from dataclasses import dataclass
from datetime import timedelta

from tidemill_core.application import Requeue, ResourceKey
from tidemill_inference.experiments.reconcile_experiment import ReconcileExperiment

_DUTY = 20
"""A look that takes long is followed by a pause so many times as long: many answers cost no more time than few."""
_MAX_PAUSE = timedelta(minutes=2)
"""So long an arm that breaks a guardrail may answer unseen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvanceExperiment:
    """Reconciles a run until it has ended. Its lease is kept in the pauses, so that no resync shortens them."""

    reconcile: ReconcileExperiment
    tick: timedelta

    async def __call__(self, ref: ResourceKey, _epoch: int) -> Requeue | None:
        """Take the run a step further, and ask to be called again after a tick while it goes on."""
        started = time.monotonic()
        if not await self.reconcile(ref):
            return None
        took = timedelta(seconds=time.monotonic() - started)
        return Requeue(after=max(self.tick, min(took * _DUTY, _MAX_PAUSE)), keep_lease=True)
