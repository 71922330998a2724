"""Request that the batch of a completed curation be read."""

from collections.abc import Callable
from dataclasses import dataclass

from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller, ResourceKey
from tidemill_core.errors import PermissionDenied
from tidemill_monitor.events.feedback import CurationCompleted
from tidemill_monitor.events.meta import EventMeta
from tidemill_monitor.examples.domain import Batch
from tidemill_monitor.examples.ports import Batches
from tidemill_monitor.lineage.domain.parts import curation_ref


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestBatch:
    """Repeating it changes nothing. Batches may be large: a controller reads them."""

    batches: Batches
    enqueue: Callable[[ResourceKey], None]

    async def __call__(self, caller: Caller, meta: EventMeta, event: CurationCompleted) -> None:
        """Record the batch as pending.

        Raises:
            PermissionDenied: the event refers to examples of another project.

        """
        stored = event.batch
        if not stored.key.startswith(f"{caller.project}/"):
            message = f"curation {event.curation} refers to examples outside its project"
            raise PermissionDenied(message, curation=event.curation)
        batch = Batch(
            project=caller.project,
            curation=curation_ref(event.curation, event.seq).id,
            object=ObjectRef(bucket=stored.bucket, key=stored.key, size=stored.size, sha256=stored.sha256),
            examples=stored.examples,
            time=meta.time,
        )
        if await self.batches.add_pending(batch):
            self.enqueue(batch.key)
