"""Link a completion of a curation with the feedback and answers of its batch."""

from dataclasses import dataclass

from tidemill_core.errors import InvalidInput, NotFound, PermissionDenied
from tidemill_monitor.application.ports import Batches, BatchName, Examples, Graph
from tidemill_monitor.domain.events import sources_of
from tidemill_monitor.domain.graph import Batch, NodeUpdate, Part, Ref
from tidemill_monitor.domain.kinds import REACTED_TO, Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkExamples:
    """Batches are immutable, so every reader writes the same; only finishing one needs the lease's epoch.

    Batches that were erased or are invalid are finished too, with the reason in their curation's facts.
    """

    batches: Batches
    examples: Examples
    graph: Graph

    async def __call__(self, name: BatchName, *, epoch: int) -> None:
        """Read the batch unless it is finished; `epoch` is that of its lease.

        Raises:
            LeaseLost: another worker took it over.
            DependencyUnavailable: try again later.

        """
        batch = await self.batches.pending(name)
        if batch is not None:
            await self.batches.finish(name, epoch=epoch, reason=await self._link(batch))

    async def _link(self, batch: Batch) -> str:
        """Return why the batch cannot be read, or ""."""
        try:
            examples = await self.examples.read(batch)
        except (NotFound, InvalidInput, PermissionDenied) as error:
            reason = "ERASED" if isinstance(error, NotFound) else error.reason
            await self._record(batch, {"linked": "0", "unread": reason})
            return reason
        for example in examples:
            ref = Ref(Kind.FEEDBACK, example.feedback)
            updates = NodeUpdate(ref=ref, sources=sources_of(ref, (REACTED_TO, example.inference)))
            await self.graph.record(batch.project, [updates])
        await self.graph.record_examples(batch.project, batch.curation, [example.feedback for example in examples])
        await self._record(batch, {"linked": str(len(examples))})
        return ""

    async def _record(self, batch: Batch, facts: dict[str, str]) -> None:
        part = Part(key="examples", event="", seq=0, time=batch.time, facts=facts)
        await self.graph.record(batch.project, [NodeUpdate(ref=batch.ref, part=part)])
