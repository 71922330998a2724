"""Record what an event adds to the graph."""

from collections.abc import Mapping
from dataclasses import dataclass

from tidemill_core.application import Caller
from tidemill_monitor.events.meta import EventMeta
from tidemill_monitor.lineage.domain.graph import NodeUpdate
from tidemill_monitor.lineage.domain.kinds import Kind
from tidemill_monitor.lineage.domain.parts import updates_of
from tidemill_monitor.lineage.ports import Erased, Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordEvent:
    """Repeating it, in whatever order, changes nothing: every effect is named by what the event says.

    Nor does a late one bring back how an erased document was named.
    """

    graph: Graph
    erased: Erased

    async def __call__(self, caller: Caller, meta: EventMeta, event: object) -> Mapping[Kind, int]:
        """Return how many things of each kind are new."""
        updates = await self._without_erased(caller, meta, updates_of(event, meta))
        new = await self.graph.record(caller.project, updates)
        left = await self._without_erased(caller, meta, updates)
        if left != updates:  # erased while it waited to be written
            await self.graph.record(caller.project, left)
        return new

    async def _without_erased(
        self, caller: Caller, meta: EventMeta, updates: tuple[NodeUpdate, ...]
    ) -> tuple[NodeUpdate, ...]:
        """Take out the names of documents that are erased."""
        named = {each.names for each in updates if each.names}
        if not named:
            return updates
        until = await self.erased(caller.project, named)
        gone = {document for document, moment in until.items() if meta.time <= moment}
        return tuple(each.without_names() if each.names in gone else each for each in updates)
