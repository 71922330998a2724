"""The controller of experiments."""

import time
from dataclasses import dataclass
from datetime import timedelta

from tidemill_core.application import Requeue, ResourceKey
from tidemill_inference.experiments.reconcile_experiment import ReconcileExperiment

_DUTY = 20
"""A look that takes long is followed by a pause so many times as long: many answers cost no more time than few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvanceExperiment:
    """Reconciles a run until it has ended."""

    reconcile: ReconcileExperiment
    tick: timedelta

    async def __call__(self, ref: ResourceKey, _epoch: int) -> Requeue | None:
        """Take the run a step further, and ask to be called again after a tick while it goes on."""
        started = time.monotonic()
        if not await self.reconcile(ref):
            return None
        took = timedelta(seconds=time.monotonic() - started)
        return Requeue(after=max(self.tick, took * _DUTY))
