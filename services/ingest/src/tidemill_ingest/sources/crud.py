"""Create, read, change and delete sources."""

from copy import deepcopy
from dataclasses import dataclass

from tidemill_core.application import Caller, Page, PageRequest, Request
from tidemill_core.errors import AlreadyExists, NotFound
from tidemill_ingest.limits import Limits
from tidemill_ingest.sources.domain import Source
from tidemill_ingest.sources.event_bindings import BindEvents
from tidemill_ingest.sources.ports import Sources

CHANGEABLE = frozenset({"labels", "events", "masking", "retention_days"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateSource:
    """The source as its owner describes it."""

    source: Source
    request: Request
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateSource:
    """`fields` names what changes to what `source` says; `etag` is what the caller read."""

    source: Source
    fields: frozenset[str]
    request: Request
    etag: str = ""
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteSource:
    """`etag` is what the caller read."""

    source_id: str
    request: Request
    etag: str = ""
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ManageSources:
    """Sources emit no events: submissions read them here. The same request again has no second effect."""

    sources: Sources
    events: BindEvents
    limits: Limits

    async def create(self, caller: Caller, command: CreateSource) -> Source:
        """Return the new source; the id of a deleted one is taken up again.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            AlreadyExists: the id is taken.
            EventSourceTaken: another source has these events.

        """
        source, project = command.source, caller.project
        source.check(self.limits)
        try:
            await self.sources.get(project, source.id)
        except NotFound:
            await self.events.bind(project, source.events, source.id, validate_only=command.validate_only)
        else:
            if command.validate_only:
                message = f"{source.id} exists already: choose another id"
                raise AlreadyExists(message, id=source.id)
        return source if command.validate_only else await self.sources.add(source, request=command.request)

    async def get(self, caller: Caller, source_id: str) -> Source:
        """Return the source.

        Raises:
            SourceNotFound: the caller's project has no such source.

        """
        return await self.sources.get(caller.project, source_id)

    async def list(self, caller: Caller, page: PageRequest) -> Page[Source]:
        """Return a page of sources, oldest first."""
        return await self.sources.list(caller.project, page=page)

    async def update(self, caller: Caller, command: UpdateSource) -> Source:
        """Return the changed source; its documents stay as they are until they are submitted again.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            SourceNotFound: there is none.
            Conflict: it changed since the etag.
            EventSourceTaken: another source has these events.

        """
        desired, project = command.source, caller.project
        before = await self.sources.get(project, desired.id)
        preview = deepcopy(before)
        preview.apply(desired, command.fields)
        preview.check(self.limits)
        if command.validate_only:
            preview.check_etag(command.etag)
        await self.events.bind(project, preview.events, desired.id, validate_only=command.validate_only)
        if command.validate_only:
            return preview

        def change(source: Source) -> None:
            source.check_etag(command.etag)
            source.apply(desired, command.fields)

        saved = await self.sources.update(project, desired.id, change, request=command.request)
        if before.events != saved.events:
            await self.events.release(project, before.events, desired.id)
        return saved

    async def delete(self, caller: Caller, command: DeleteSource) -> Source:
        """Return the source as it was; its documents stay, and nothing new comes in.

        Raises:
            SourceNotFound: there is none.
            Conflict: it changed since the etag.

        """

        def change(source: Source) -> None:
            source.check_etag(command.etag)
            source.deleted = True

        if command.validate_only:
            preview = await self.sources.get(caller.project, command.source_id)
            preview.check_etag(command.etag)
            return preview
        deleted = await self.sources.update(caller.project, command.source_id, change, request=command.request)
        await self.events.release(caller.project, deleted.events, command.source_id)
        return deleted
