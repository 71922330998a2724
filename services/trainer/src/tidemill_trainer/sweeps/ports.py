"""Ports of sweeps."""

from typing import Protocol

from tidemill_core.application import Aggregates
from tidemill_trainer.sweeps.domain.space import Point
from tidemill_trainer.sweeps.domain.sweep import Sweep, SweepTrial

Sweeps = Aggregates[Sweep]


class Search(Protocol):
    """Decides from a sweep's trials alone, so that any worker goes on where another one ended."""

    async def suggest(self, sweep: Sweep) -> Point:
        """Return the point of the next trial."""
        ...

    async def hopeless(self, sweep: Sweep) -> list[SweepTrial]:
        """Return the running trials that end early."""
        ...
