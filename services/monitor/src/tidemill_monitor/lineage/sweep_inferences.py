"""Delete old answers without feedback."""

from dataclasses import dataclass
from datetime import timedelta

from tidemill_core.application import Clock
from tidemill_monitor.lineage.domain.kinds import Direction
from tidemill_monitor.lineage.ports import Graph

_BATCH_SIZE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepInferences:
    """Answers are what there is most of. Those with a reaction stay: examples may have come of them.

    Each old answer is checked once.
    """

    graph: Graph
    clock: Clock
    keep: timedelta

    async def __call__(self) -> int:
        """Return how many were forgotten."""
        forgotten, before = 0, self.clock.now() - self.keep
        while found := await self.graph.inferences_before(before, limit=_BATCH_SIZE):
            for project in dict.fromkeys(project for project, _ in found):
                refs = [ref for owner, ref in found if owner == project]
                reacted = await self.graph.neighbours(project, refs, Direction.FORWARD, limit=1)
                kept = {each.ref for each in reacted}
                for ref in refs:
                    if ref in kept:
                        await self.graph.keep(project, ref)
                    else:
                        await self.graph.forget(project, ref)
                        forgotten += 1
        return forgotten
