"""Cancels the sweeps of an erased project, so that none starts another run."""

from contextlib import suppress
from dataclasses import dataclass

from tidemill_core.application import Clock, Request
from tidemill_core.errors import NotFound
from tidemill_core.resources import list_all
from tidemill_trainer.errors import SweepFinished
from tidemill_trainer.sweeps.domain.sweep import IN_WORK
from tidemill_trainer.sweeps.ports import Sweeps


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelSweeps:
    """Cancels the sweeps of a project; their runs are cancelled with all runs of the project."""

    sweeps: Sweeps
    clock: Clock

    async def __call__(self, project: str) -> None:
        """Cancel those that have not ended."""
        now = self.clock.now()
        for state in sorted(IN_WORK, key=lambda state: state.value):
            async for sweep in list_all(self.sweeps, project, where={"state": state.value}):
                with suppress(NotFound, SweepFinished):
                    await self.sweeps.update(
                        project,
                        sweep.id,
                        lambda sweep: sweep.cancel(now=now, message="its project is erased"),
                        request=Request.internal(),
                    )
