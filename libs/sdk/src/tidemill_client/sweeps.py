"""Sweeps: searches for better settings of training plans, and waiting for one."""

from collections.abc import AsyncIterator, Callable

from tidemill.trainer.v1.sweep_pb2 import Sweep, SweepState, SweepTrialState
from tidemill.trainer.v1.sweep_service_pb2 import (
    CancelSweepRequest,
    CreateSweepRequest,
    DeleteSweepRequest,
    GetSweepRequest,
    ListSweepsRequest,
)
from tidemill_client.connection import Connection
from tidemill_client.pages import each, filter_of
from tidemill_client.waiting import poll

PATIENCE_S = 24 * 3600.0
ENDED = frozenset({SweepState.SWEEP_STATE_SUCCEEDED, SweepState.SWEEP_STATE_FAILED, SweepState.SWEEP_STATE_CANCELLED})
"""Terminal states."""


def ended_trials(sweep: Sweep) -> int:
    """Return how many trials of a sweep have ended."""
    return sum(trial.state != SweepTrialState.SWEEP_TRIAL_STATE_RUNNING for trial in sweep.trials)


def best_loss(sweep: Sweep) -> float | None:
    """Return the lowest held-out loss of a trial that came to its end, None where none has."""
    measured = SweepTrialState.SWEEP_TRIAL_STATE_MEASURED
    losses = [trial.losses[-1] for trial in sweep.trials if trial.state == measured and trial.losses]
    return min(losses, default=None)


class Sweeps:
    """The sweeps of a project."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(self, sweep: Sweep, *, request_id: str = "", validate_only: bool = False) -> Sweep:
        """Create a sweep and start its trials."""
        request = CreateSweepRequest(sweep=sweep, request_id=request_id, validate_only=validate_only)
        return (await self._connection.sweeps.CreateSweep(request)).sweep

    async def get(self, sweep: str) -> Sweep:
        """Return a sweep with its trials."""
        return (await self._connection.sweeps.GetSweep(GetSweepRequest(id=sweep))).sweep

    def all(self, *, plan: str = "") -> AsyncIterator[Sweep]:
        """Yield the sweeps, oldest first."""
        return each(
            self._connection.sweeps.ListSweeps, ListSweepsRequest(filter=filter_of(plan=plan)), lambda page: page.sweeps
        )

    async def newest(self, plan: str) -> Sweep | None:
        """Return the newest sweep of a plan, None where it has none."""
        request = ListSweepsRequest(filter=filter_of(plan=plan), order_by="create_time desc", page_size=1)
        return next(iter((await self._connection.sweeps.ListSweeps(request)).sweeps), None)

    async def cancel(self, sweep: str) -> Sweep:
        """Cancel a sweep and its runs; no model version is registered, unless that has begun."""
        return (await self._connection.sweeps.CancelSweep(CancelSweepRequest(id=sweep))).sweep

    async def delete(self, sweep: str) -> Sweep:
        """Delete a sweep that has ended; its runs and its model version stay."""
        return (await self._connection.sweeps.DeleteSweep(DeleteSweepRequest(id=sweep))).sweep

    async def wait(
        self, sweep: str, *, within_s: float = PATIENCE_S, watch: Callable[[Sweep], None] = lambda _sweep: None
    ) -> Sweep:
        """Wait until a sweep is in a terminal state, and return it.

        Raises:
            DeadlineExceeded: `within_s` has passed; the sweep continues.

        """
        return await poll(
            lambda: self.get(sweep),
            lambda found: found.state in ENDED,
            what=f"sweep {sweep}",
            within_s=within_s,
            watch=watch,
        )
