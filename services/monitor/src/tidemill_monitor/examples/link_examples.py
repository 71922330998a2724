"""Link a completion of a curation with the feedback and answers of its batch."""

from dataclasses import dataclass

from tidemill_core.application import ResourceKey
from tidemill_core.errors import InvalidInput, NotFound, PermissionDenied
from tidemill_monitor.examples.domain import Batch
from tidemill_monitor.examples.ports import Batches, Examples
from tidemill_monitor.lineage.domain.graph import Fact, NodeUpdate, Part, Ref
from tidemill_monitor.lineage.domain.kinds import REACTED_TO, Kind
from tidemill_monitor.lineage.domain.parts import sources_of
from tidemill_monitor.lineage.ports import Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkExamples:
    """Batches are immutable, so every reader writes the same; only finishing one needs the lease's epoch.

    Batches that were erased or are invalid are finished too, with the reason in their curation's facts.
    """

    batches: Batches
    examples: Examples
    graph: Graph

    async def __call__(self, key: ResourceKey, *, epoch: int) -> None:
        """Read the batch unless it is finished; `epoch` is that of its lease.

        Raises:
            LeaseLost: another worker took it over.
            DependencyUnavailable: try again later.

        """
        batch = await self.batches.pending(key)
        if batch is not None:
            await self.batches.finish(key, epoch=epoch, reason=await self._link(batch))

    async def _link(self, batch: Batch) -> str:
        """Return why the batch cannot be read, or ""."""
        try:
            examples = await self.examples.read(batch)
        except (NotFound, InvalidInput, PermissionDenied) as error:
            reason = "ERASED" if isinstance(error, NotFound) else error.reason
            await self._record(batch, {"linked": 0, "unread": reason})
            return reason
        for example in examples:
            ref = Ref(Kind.FEEDBACK, example.feedback)
            update = NodeUpdate(ref=ref, sources=sources_of(ref, (REACTED_TO, example.inference)))
            await self.graph.record(batch.project, [update])
        await self.graph.record_examples(batch.project, batch.curation, [example.feedback for example in examples])
        await self._record(batch, {"linked": len(examples)})
        return ""

    async def _record(self, batch: Batch, facts: dict[str, Fact]) -> None:
        part = Part(key="examples", event="", seq=0, time=batch.time, facts=facts)
        await self.graph.record(batch.project, [NodeUpdate(ref=batch.ref, part=part)])
