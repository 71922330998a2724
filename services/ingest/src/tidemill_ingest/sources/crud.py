"""Create, change and delete sources."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

from tidemill_core.application import Caller, Request
from tidemill_core.errors import AlreadyExists, Conflict, NotFound
from tidemill_ingest.documents.ports import Sources
from tidemill_ingest.limits import Limits
from tidemill_ingest.sources.domain import Source
from tidemill_ingest.sources.event_bindings import BindEvents

CHANGEABLE = frozenset({"labels", "events", "masking", "retention_days"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateSourceCommand:
    """The source as its owner describes it."""

    source: Source
    request: Request
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateSourceCommand:
    """`fields` names what changes to what `source` says; `etag` is what the caller read."""

    source: Source
    fields: frozenset[str]
    request: Request
    etag: str = ""
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteSourceCommand:
    """`etag` is what the caller read."""

    source_id: str
    request: Request
    etag: str = ""
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSources:
    """Sources emit no events: submissions read them here. The same request again has no second effect."""

    sources: Sources
    events: BindEvents
    limits: Limits

    async def create(self, command: CreateSourceCommand) -> Source:
        """Return the new source; the id of a deleted one is taken up again.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            AlreadyExists: the id is taken.
            EventSourceTaken: another source has these events.

        """
        source = command.source
        source.check(self.limits)
        existing = await self._existing(source)
        if existing is None:
            await self.events.bind(source.project, source.events, source.id, validate_only=command.validate_only)
        if existing is not None and command.validate_only:
            message = f"{source.id} exists already: choose another id"
            raise AlreadyExists(message, id=source.id)
        return source if command.validate_only else await self.sources.add(source, request=command.request)

    async def update(self, command: UpdateSourceCommand) -> Source:
        """Return the changed source; what it says counts from the next submission on.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            SourceNotFound: there is none.
            Conflict: it changed since the etag.
            EventSourceTaken: another source has these events.

        """
        desired = command.source
        before = await self.sources.get(desired.project, desired.id)
        change = self._change(command)
        preview = deepcopy(before)
        for name in command.fields:
            setattr(preview, name, getattr(desired, name))
        preview.check(self.limits)
        if command.validate_only:
            change(preview)
        await self.events.bind(desired.project, preview.events, desired.id, validate_only=command.validate_only)
        if command.validate_only:
            return preview
        saved = await self.sources.update(desired.project, desired.id, change, request=command.request)
        if before.events != saved.events:
            await self.events.release(desired.project, before.events, desired.id)
        return saved

    async def delete(self, caller: Caller, command: DeleteSourceCommand) -> Source:
        """Return the source as it was; its documents stay, and nothing new comes in.

        Raises:
            SourceNotFound: there is none.
            Conflict: it changed since the etag.

        """

        def change(source: Source) -> None:
            _refuse_changed(source, command.etag)
            source.deleted = True

        if command.validate_only:
            preview = await self.sources.get(caller.project, command.source_id)
            _refuse_changed(preview, command.etag)
            return preview
        deleted = await self.sources.update(caller.project, command.source_id, change, request=command.request)
        await self.events.release(caller.project, deleted.events, command.source_id)
        return deleted

    async def _existing(self, source: Source) -> Source | None:
        try:
            return await self.sources.get(source.project, source.id)
        except NotFound:
            return None

    def _change(self, command: UpdateSourceCommand) -> Callable[[Source], None]:
        def change(source: Source) -> None:
            _refuse_changed(source, command.etag)
            for name in command.fields:
                setattr(source, name, getattr(command.source, name))

        return change


def _refuse_changed(source: Source, etag: str) -> None:
    if etag and etag != str(source.version):
        message = f"source {source.id} changed since etag {etag}: read it again and decide again"
        raise Conflict(message, etag=source.version)
