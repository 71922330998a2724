"""Compare a loop with what runs, and make what runs like the loop.

The file owns configuration and rollouts own what is live, so applying the same file again never undoes a promotion:
every service is asked what an update would change, and only what would change is sent.
"""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from tidemill.inference.v1 import deployment_service_pb2, prompt_service_pb2
from tidemill.ingest.v1 import source_service_pb2
from tidemill.rag.v1 import collection_service_pb2
from tidemill_client.connection import Connection
from tidemill_client.loop.changes import Action, Change
from tidemill_client.loop.declaration import Loop
from tidemill_client.loop.models import DeclaredModel
from tidemill_client.loop.resources import OWNER_LABEL, Desired, desired_resources
from tidemill_kit.errors import NotFound, TidemillError

_VOLATILE = {"seq", "etag", "update_time", "create_time", "project", "versions", "indexes"}
_CONTRACTS = {
    "source": source_service_pb2,
    "collection": collection_service_pb2,
    "prompt": prompt_service_pb2,
    "deployment": deployment_service_pb2,
}
KINDS = tuple(_CONTRACTS)
T = TypeVar("T")


class ApplyFailed(TidemillError):
    """One part could not be applied; applying again goes on from there."""

    reason = "APPLY_FAILED"

    def __init__(self, part: str, applied: list[Change], error: TidemillError) -> None:
        done = ", ".join(f"{change.kind} {change.name}" for change in applied if change.changes) or "nothing"
        super().__init__(f"{part}: {error.message}; applied before it: {done}; mend it and apply again", part=part)
        self.error = error


class Planner:
    """Plans and applies one loop over one connection."""

    def __init__(self, connection: Connection, loop: Loop) -> None:
        self._connection = connection
        self._loop = loop
        self._models = [DeclaredModel(connection, name, model) for name, model in loop.models.items()]
        self._resources = [_Resource(connection, desired) for desired in desired_resources(loop)]

    async def diff(self, *, prune: bool = False) -> list[Change]:
        """Return what applying would do, in its order; nothing is changed."""
        pending: set[tuple[str, str]] = set()
        changes = [change async for change in self._changes(pending, apply=False, progress=_silent)]
        return [*changes, *await self._orphans(prune=prune)]

    async def apply(
        self, *, prune: bool = False, progress: Callable[[str, float], None] = lambda _text, _share: None
    ) -> list[Change]:
        """Make what runs like the loop and return what was done.

        `progress` is told what is at work and which share of it (0 to 1) is done.

        Raises:
            ApplyFailed: a part was refused or did not answer; what was applied before it stays.

        """
        await self.diff(prune=prune)  # every service sees the whole file before any is changed
        done = [change async for change in self._changes(set(), apply=True, progress=progress)]
        orphans = await self._orphans(prune=prune)
        for orphan in reversed(orphans):
            if orphan.action is Action.DELETE:
                await _named(orphan.kind, orphan.name, done, _delete(self._connection, orphan.kind, orphan.name))
        return [*done, *orphans]

    async def _changes(
        self, pending: set[tuple[str, str]], *, apply: bool, progress: Callable[[str, float], None]
    ) -> AsyncIterator[Change]:
        done: list[Change] = []
        parts: list[DeclaredModel | _Resource] = [*self._models, *self._resources]
        for position, part in enumerate(parts):
            progress(f"{part.kind} {part.name}", position / len(parts))
            work = part.apply(progress) if apply else part.diff(pending)
            change = await _named(part.kind, part.name, done, work)
            done.append(change)
            if change.changes:
                pending.add((change.kind, change.name))
            yield change

    async def _orphans(self, *, prune: bool) -> list[Change]:
        declared = {(part.kind, part.name) for part in self._resources}
        found = []
        for kind in KINDS:
            async for message in _listed(self._connection, kind):
                if message.labels.get(OWNER_LABEL) == self._loop.metadata.name and (kind, message.id) not in declared:
                    action = Action.DELETE if prune else Action.ORPHAN
                    note = "no longer in the file" if prune else "no longer in the file: --prune deletes it"
                    found.append(Change(kind=kind, name=message.id, action=action, note=note))
        return found


class _Resource:
    """One declared resource at the service that owns it; all kinds have the same five methods."""

    def __init__(self, connection: Connection, desired: Desired) -> None:
        self._connection = connection
        self._desired = desired
        self.kind, self.name = desired.kind, desired.name

    async def diff(self, pending: set[tuple[str, str]]) -> Change:
        """Ask the service what would change; a part that refers to one not yet there cannot be asked about."""
        missing = [f"{kind} {name}" for kind, name in self._desired.refers_to if (kind, name) in pending]
        current = await self._get()
        if current is None:
            if not missing:
                await self._create(validate_only=True)
            return self._change(Action.CREATE)
        if missing:
            note = f"follows {', '.join(missing)}"
            return self._change(Action.UPDATE, _differences(current, self._wanted(current)), note=note)
        return self._compared(current, await self._update(validate_only=True))

    async def apply(self, _progress: Callable[[str, float], None]) -> Change:
        """Create or update the resource where it differs."""
        current = await self._get()
        if current is None:
            await self._create(validate_only=False)
            return self._change(Action.CREATE)
        change = self._compared(current, await self._update(validate_only=True))
        if change.changes:
            await self._update(validate_only=False)
        return change

    def _compared(self, current: Message, preview: Message) -> Change:
        details = _differences(current, preview)
        return self._change(Action.UPDATE if details else Action.NONE, details)

    def _change(
        self, action: Action, details: dict[str, tuple[object, object]] | None = None, note: str = ""
    ) -> Change:
        return Change(kind=self.kind, name=self.name, action=action, details=details or {}, note=note)

    def _wanted(self, current: Message) -> Message:
        wanted = type(current)()
        wanted.CopyFrom(current)
        for field in self._desired.fields:
            wanted.ClearField(field)
        wanted.MergeFrom(self._desired.message)
        return wanted

    async def _get(self) -> Any:  # noqa: ANN401 - one of four message types
        try:
            return await _call(self._connection, "Get", self.kind, id=self.name)
        except NotFound:
            return None

    async def _create(self, *, validate_only: bool) -> None:
        wanted = {self.kind: self._desired.message}
        await _call(
            self._connection, "Create", self.kind, **wanted, validate_only=validate_only, request_id=_request_id()
        )

    async def _update(self, *, validate_only: bool) -> Any:  # noqa: ANN401 - one of four message types
        wanted = {self.kind: self._desired.message, "update_mask": FieldMask(paths=self._desired.fields)}
        return await _call(
            self._connection, "Update", self.kind, **wanted, validate_only=validate_only, request_id=_request_id()
        )


async def _call(connection: Connection, verb: str, kind: str, **fields: object) -> Any:  # noqa: ANN401 - any resource
    """Call one of the five standard methods and return the resource in its answer."""
    method = f"{verb}{kind.capitalize()}"
    request = getattr(_CONTRACTS[kind], f"{method}Request")(**fields)
    return getattr(await getattr(getattr(connection, f"{kind}s"), method)(request), kind)


async def _delete(connection: Connection, kind: str, name: str) -> None:
    await _call(connection, "Delete", kind, id=name, request_id=_request_id())


async def _listed(connection: Connection, kind: str) -> AsyncIterator[Any]:
    method, token = f"List{kind.capitalize()}s", ""
    while True:
        request = getattr(_CONTRACTS[kind], f"{method}Request")(page_size=1000, page_token=token)
        page = await getattr(getattr(connection, f"{kind}s"), method)(request)
        for message in getattr(page, f"{kind}s"):
            yield message
        token = page.next_page_token
        if not token:
            return


async def _named(kind: str, name: str, done: list[Change], work: Awaitable[T]) -> T:
    try:
        return await work
    except TidemillError as error:
        part = f"{kind} {name}"
        raise ApplyFailed(part, done, error) from error


def _differences(before: Message, after: Message) -> dict[str, tuple[object, object]]:
    """Return the fields that differ, leaving out what every save changes."""
    old = MessageToDict(before, preserving_proto_field_name=True)
    new = MessageToDict(after, preserving_proto_field_name=True)
    keys = sorted((old.keys() | new.keys()) - _VOLATILE)
    return {key: (old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)}


def _request_id() -> str:
    return str(uuid.uuid4())


def _silent(_text: str, _share: float) -> None:
    """Show nothing."""
