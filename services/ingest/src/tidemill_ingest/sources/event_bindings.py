"""Find the source of a ce_source, and keep it the only one in its project."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Request, derived_id
from tidemill_core.errors import NotFound
from tidemill_ingest.errors import EventsNotRegistered
from tidemill_ingest.sources.domain import EventBinding, Source
from tidemill_ingest.sources.ports import EventBindings, Sources


@dataclass(frozen=True, slots=True, kw_only=True)
class BindEvents:
    """A binding comes before the source that shows it, and goes after it: between, the source itself decides."""

    sources: Sources
    bindings: EventBindings
    clock: Clock

    async def bind(self, caller: Caller, events: str, source_id: str, *, validate_only: bool = False) -> None:
        """Reserve the events for a source; "" needs nothing, and `validate_only` only asks whether it would work.

        Raises:
            EventSourceTaken: another source of the project has them.

        """
        if not events:
            return
        fresh = _fresh(caller.project, events)
        holder = await self._holder(fresh)
        in_use = holder is not None and holder.events == events
        now = self.clock.now()

        def change(binding: EventBinding) -> None:
            binding.bind(source_id, now=now, in_use=in_use)

        if validate_only:
            change((await self.bindings.get_many(caller.project, [fresh.id])).get(fresh.id, fresh))
            return
        await self.bindings.upsert(fresh, change, request=Request.internal())

    async def release(self, caller: Caller, events: str, source_id: str) -> None:
        """Give the events free, where the source still has them."""
        if events:
            fresh = _fresh(caller.project, events)
            await self.bindings.upsert(fresh, lambda binding: binding.release(source_id), request=Request.internal())

    async def find(self, caller: Caller, events: str) -> Source:
        """Return the source that takes these events.

        Raises:
            EventsNotRegistered: the project has none.

        """
        holder = await self._holder(_fresh(caller.project, events))
        if holder is None or holder.events != events:
            raise EventsNotRegistered(caller.project, events)
        return holder

    async def _holder(self, fresh: EventBinding) -> Source | None:
        try:
            binding = await self.bindings.get(fresh.project, fresh.id)
            return await self.sources.get(fresh.project, binding.source_id)
        except NotFound:
            return None


def _fresh(project: str, events: str) -> EventBinding:
    return EventBinding(id=derived_id(project, "events", events), project=project, events=events)
