"""Forget answers that nobody reacted to, once they are old."""

from dataclasses import dataclass
from datetime import timedelta

from tidemill_kit.application import Clock
from tidemill_monitor.application.ports import Graph
from tidemill_monitor.domain.kinds import Direction


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepInferences:
    """Answers are what there is most of. Those with a reaction stay: examples may have come of them."""

    graph: Graph
    clock: Clock
    keep: timedelta

    async def __call__(self) -> int:
        """Return how many were forgotten."""
        forgotten = 0
        async for project, ref in self.graph.inferences_before(self.clock.now() - self.keep):
            if not await self.graph.neighbours(project, [ref], Direction.FORWARD, limit=1):
                await self.graph.forget(project, ref)
                forgotten += 1
        return forgotten
