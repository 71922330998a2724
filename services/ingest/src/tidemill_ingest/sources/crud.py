"""Create, read, change and delete sources."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

from tidemill_core.application import Caller, Page, PageRequest, ResourceKey
from tidemill_core.errors import NotFound
from tidemill_core.resources import Write, copy_fields, create, delete, fields_of, update
from tidemill_ingest.errors import PseudonymsNotKept
from tidemill_ingest.polling.domain.poll import SourcePoll
from tidemill_ingest.polling.ports import SourcePolls
from tidemill_ingest.sources.domain import Source
from tidemill_ingest.sources.event_bindings import BindEvents
from tidemill_ingest.sources.ports import Forget, Sources

CHANGEABLE = fields_of(Source) - {"quality_changed", "polling_changed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ManageSources:
    """Sources emit no events: submissions read them here. The same request again has no second effect."""

    sources: Sources
    events: BindEvents
    forget: Forget
    """Called with a source that was deleted."""
    polls: SourcePolls
    enqueue: Callable[[ResourceKey], None]
    """Called with a source whose polling is another one now."""
    pseudonyms: bool = True
    """Whether the operator has configured a key for what pseudonyms stand for."""

    async def create(self, caller: Caller, source: Source, write: Write) -> Source:
        """Return the new source; the id of a deleted one is taken up again.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            AlreadyExists: the id is taken.
            EventSourceTaken: another source has these events.
            PseudonymsNotKept: it asks for pseudonyms, and there is no key for what they stand for.

        """
        self._check(source)
        source.polling_changed = source.polling is not None
        try:
            await self.sources.get(caller.project, source.id)
        except NotFound:
            await self.events.bind(caller, source.events, source.id, validate_only=write.validate_only)
        return self._polled(await create(self.sources, source, write), write)

    async def get(self, caller: Caller, source_id: str) -> Source:
        """Return the source.

        Raises:
            SourceNotFound: the caller's project has no such source.

        """
        return await self.sources.get(caller.project, source_id)

    async def list(self, caller: Caller, page: PageRequest) -> Page[Source]:
        """Return a page of sources, oldest first unless the page asks for the newest."""
        return await self.sources.list(caller.project, page=page)

    async def polls_of(self, caller: Caller, sources: Sequence[Source]) -> Mapping[str, SourcePoll]:
        """Return how the polls of sources go, by the source's id, for those that were begun."""
        polled = [each.id for each in sources if each.polling is not None]
        return await self.polls.get_many(caller.project, polled) if polled else {}

    async def update(self, caller: Caller, given: Source, fields: frozenset[str], write: Write) -> Source:
        """Return the changed source; its documents stay as they are until they are submitted again.

        What other rules of quality no longer withhold becomes current soon.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            SourceNotFound: there is none.
            Conflict: it changed since the etag.
            EventSourceTaken: another source has these events.
            PseudonymsNotKept: it asks for pseudonyms, and there is no key for what they stand for.

        """
        before = await self.sources.get(caller.project, given.id)
        desired = deepcopy(before)
        copy_fields(given, desired, fields)
        self._check(desired)
        await self.events.bind(caller, desired.events, given.id, validate_only=write.validate_only)

        def change(source: Source) -> None:
            quality, polling = source.quality, source.polling
            copy_fields(given, source, fields)
            source.quality_changed = source.quality_changed or source.quality != quality
            source.polling_changed = source.polling_changed or source.polling != polling

        saved = await update(self.sources, caller.project, given.id, change, write)
        if not write.validate_only and before.events != saved.events:
            await self.events.release(caller, before.events, given.id)
        return self._polled(saved, write)

    async def delete(self, caller: Caller, source_id: str, write: Write) -> Source:
        """Return the source as it was; its documents stay, and nothing new comes in.

        Raises:
            SourceNotFound: there is none.
            Conflict: it changed since the etag.

        """
        deleted = await delete(self.sources, caller.project, source_id, write)
        if not write.validate_only and deleted.deleted:  # a repeated request finds one that was made anew
            await self.events.release(caller, deleted.events, source_id)
            await self.forget(caller.project, source_id)
            self._polled(deleted, write)
        return deleted

    def _polled(self, source: Source, write: Write) -> Source:
        if not write.validate_only and (source.polling_changed or (source.deleted and source.polling is not None)):
            self.enqueue(ResourceKey(project=source.project, id=source.id))
        return source

    def _check(self, source: Source) -> None:
        source.check()
        if source.masking.pseudonyms and not self.pseudonyms:
            raise PseudonymsNotKept
