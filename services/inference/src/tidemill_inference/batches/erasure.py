"""End the batches of an erased project."""

from dataclasses import dataclass

from tidemill_core.application import Clock, Request
from tidemill_core.resources import list_all
from tidemill_inference.batches.ports import Batches


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelBatches:
    """A worker that has one notices within a tick, and lets go of it."""

    batches: Batches
    clock: Clock

    async def __call__(self, project: str) -> None:
        """Cancel those that are not at their end."""
        now = self.clock.now()
        async for batch in list_all(self.batches, project):
            if not batch.final:
                await self.batches.update(
                    project, batch.id, lambda stored: stored.cancel(now=now), request=Request.internal()
                )
