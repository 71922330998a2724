"""Write down what an event adds to the history."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tidemill_core.errors import PermissionDenied
from tidemill_monitor.application.ports import Batches, BatchName, Graph
from tidemill_monitor.domain.events import EventBody, EventMeta
from tidemill_monitor.domain.kinds import Kind
from tidemill_monitor.domain.loop_events import CurationCompleted


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordEvent:
    """Repeating it, in whatever order, changes nothing: every effect is named by what the event says.

    Which examples a curation took stands in its batch, which may be large: a worker reads it.
    """

    graph: Graph
    batches: Batches
    enqueue: Callable[[BatchName], None]

    async def __call__(self, project: str, meta: EventMeta, body: EventBody) -> Mapping[Kind, int]:
        """Return how many things of each kind are new.

        Raises:
            PermissionDenied: the event refers to examples of another project.

        """
        if isinstance(body, CurationCompleted) and not body.batch.key.startswith(f"{project}/"):
            message = f"curation {body.curation} refers to examples outside its project"
            raise PermissionDenied(message, curation=body.curation)
        new = await self.graph.record(project, body.updates(meta))
        if isinstance(body, CurationCompleted):
            batch = body.batch_of(project, meta)
            if await self.batches.add_pending(batch):
                self.enqueue(BatchName(project, batch.curation))
        return new
