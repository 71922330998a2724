"""Record what an event adds to the graph."""

from collections.abc import Mapping
from dataclasses import dataclass

from tidemill_core.application import Caller
from tidemill_monitor.events.meta import EventMeta
from tidemill_monitor.lineage.domain.kinds import Kind
from tidemill_monitor.lineage.domain.parts import updates_of
from tidemill_monitor.lineage.ports import Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordEvent:
    """Repeating it, in whatever order, changes nothing: every effect is named by what the event says."""

    graph: Graph

    async def __call__(self, caller: Caller, meta: EventMeta, event: object) -> Mapping[Kind, int]:
        """Return how many things of each kind are new."""
        return await self.graph.record(caller.project, updates_of(event, meta))
