"""Diff and apply of a loop.

The file owns configuration, rollouts own the live model and prompt: applying the same file again undoes no promotion.
Services compute the diff (`validate_only`), and only changed resources are updated.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, TypeVar, cast

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from tidemill.evaluator.v1.judge_pb2 import Judge
from tidemill.inference.v1.deployment_pb2 import PromptGoLive
from tidemill_cli.loop.changes import Action, Change, Pending
from tidemill_cli.loop.declaration import Loop
from tidemill_cli.loop.desired import OWNER_LABEL, Desired
from tidemill_cli.loop.kinds import KINDS
from tidemill_cli.loop.models import DeclaredModel
from tidemill_cli.loop.resources import desired_resources, owned_labels
from tidemill_cli.loop.rollouts import DeclaredRollout, orphaned_rollouts, remove_policy
from tidemill_client.connection import Connection
from tidemill_core.errors import TidemillError

_RESOLVED = "live"
"""Resolved references: a new version of a referenced prompt is a change."""
_DIGEST = "digest"
"""Suites are compared by digest: only Get returns the cases."""
_MOVED = {"model", "digest"}
"""Fields of the live configuration that rollouts change, if the deployment follows a training."""
_RESOLVING = {"collection", "dataset", "deployment"}
"""Kinds that change, or are validated, with new versions of what they refer to: models, prompts, review queues."""
T = TypeVar("T")


class ApplyFailed(TidemillError):
    """A resource could not be applied; apply is idempotent and can be repeated."""

    reason = "APPLY_FAILED"

    def __init__(self, part: str, applied: list[Change], error: TidemillError) -> None:
        done = ", ".join(f"{change.kind} {change.name}" for change in applied if change.changes) or "nothing"
        super().__init__(f"{part}: {error.message}; applied before it: {done}; fix it and apply again", part=part)
        self.error = error


class Planner:
    """Plans and applies one loop over one connection."""

    def __init__(self, connection: Connection, loop: Loop) -> None:
        self._connection = connection
        self._loop = loop
        self._models = [
            DeclaredModel(connection, name, model, owned_labels(loop)) for name, model in loop.models.items()
        ]
        self._resources = [_Resource(connection, desired) for desired in desired_resources(loop)]
        self._rollouts = [DeclaredRollout(connection, name, rollout) for name, rollout in loop.rollouts.items()]

    async def diff(self, *, prune: bool = False) -> list[Change]:
        """Return the changes that apply would make, in order."""
        changes = [change async for change in self._changes({}, apply=False, progress=_silent)]
        return [*changes, *await self._orphans(prune=prune)]

    async def apply(
        self, *, prune: bool = False, progress: Callable[[str, float], None] = lambda _text, _share: None
    ) -> list[Change]:
        """Apply the loop and return the changes.

        `progress` is called with a description and the completed share (0 to 1).

        Raises:
            ApplyFailed: a resource was rejected or its service did not respond; earlier changes are kept.

        """
        await self.diff(prune=prune)  # validates all resources before the first change
        done = [change async for change in self._changes({}, apply=True, progress=progress)]
        orphans = await self._orphans(prune=prune)
        for orphan in reversed(orphans):
            if orphan.action is Action.DELETE:
                await _named(orphan.kind, orphan.name, done, _delete(self._connection, orphan))
        return [*done, *orphans]

    async def _changes(
        self, pending: Pending, *, apply: bool, progress: Callable[[str, float], None]
    ) -> AsyncIterator[Change]:
        done: list[Change] = []
        parts: list[_Part] = [*self._models, *self._resources, *self._rollouts]
        for position, part in enumerate(parts):
            progress(f"{part.kind} {part.name}", position / len(parts))
            work = part.apply(progress) if apply else part.diff(pending)
            change = await _named(part.kind, part.name, done, work)
            done.append(change)
            policy_only = change.kind == "model" and change.action is Action.UPDATE  # moves no reference to it
            if change.changes and not policy_only:
                pending[change.kind, change.name] = change.action
            yield change

    async def _orphans(self, *, prune: bool) -> list[Change]:
        """Return resources that are no longer in the file, in order of dependency."""
        declared = {(part.kind, part.name) for part in self._resources}
        owner = self._loop.metadata.name
        found = [
            (name, message.id)
            for name, kind in KINDS.items()
            for message in sorted([each async for each in kind(self._connection).all()], key=_is_jury)
            if message.labels.get(OWNER_LABEL) == owner and (name, message.id) not in declared
        ]
        kept = {rollout.deployment for rollout in self._rollouts}
        gone = {name for kind, name in found if kind == "deployment"} if prune else set()
        rollouts = [name async for name in orphaned_rollouts(self._connection, owner, kept | gone)]
        action = Action.DELETE if prune else Action.ORPHAN
        note = "no longer in the file" if prune else "no longer in the file: --prune deletes it"
        orphans = [*found, *(("rollout", name) for name in rollouts)]
        return [Change(kind=kind, name=name, action=action, note=note) for kind, name in orphans]


def _is_jury(message: Message) -> bool:
    """Return whether it is a jury, which depends on others of its kind, whichever of them was there first."""
    return isinstance(message, Judge) and bool(message.members)


class _Part(Protocol):
    """A model, resource or rollout of a loop."""

    @property
    def kind(self) -> str: ...

    @property
    def name(self) -> str: ...

    async def diff(self, pending: Pending, /) -> Change:
        """Return what apply would change."""
        ...

    async def apply(self, progress: Callable[[str, float], None], /) -> Change:
        """Apply the part."""
        ...


class _Resource:
    """One declared resource; all kinds have the same methods."""

    def __init__(self, connection: Connection, desired: Desired) -> None:
        self._resources = KINDS[desired.kind](connection)
        self._desired = desired
        self.kind, self.name = desired.kind, desired.name

    async def diff(self, pending: Pending) -> Change:
        """Return what the service would change; it cannot validate references to resources that do not exist yet."""
        changing = [part for part in self._desired.refers_to if part in pending and not self._rolls_out(part, pending)]
        missing = [part for part in changing if pending[part] is Action.CREATE]
        current = await self._resources.find(self.name)
        if current is None:
            if not missing:
                await self._resources.create(self._desired.message, validate_only=True)
            return self._change(Action.CREATE)
        if missing or (changing and self.kind in _RESOLVING):
            note = f"follows {', '.join(f'{kind} {name}' for kind, name in changing)}"
            return self._change(
                Action.UPDATE, _differences(self._desired, current, self._requested(current)), note=note
            )
        return self._compared(current, await self._update(validate_only=True))

    async def apply(self, _progress: Callable[[str, float], None]) -> Change:
        """Create the resource, or update it if it differs."""
        current = await self._resources.find(self.name)
        if current is None:
            await self._resources.create(self._desired.message)
            return self._change(Action.CREATE)
        change = self._compared(current, await self._update(validate_only=True))
        if change.changes:
            await self._update(validate_only=False)
        return change

    def _rolls_out(self, part: tuple[str, str], pending: Pending) -> bool:
        """Return whether a new version of what it refers to goes live by rollout, so that it does not change."""
        by_rollout = getattr(self._desired.message, "prompt_go_live", None) == PromptGoLive.PROMPT_GO_LIVE_BY_ROLLOUT
        return by_rollout and part[0] == "prompt" and pending[part] is Action.UPDATE

    def _compared(self, current: Message, preview: Message) -> Change:
        details = _differences(self._desired, current, preview)
        return self._change(Action.UPDATE if details else Action.NONE, details)

    def _change(
        self, action: Action, details: dict[str, tuple[object, object]] | None = None, note: str = ""
    ) -> Change:
        return Change(kind=self.kind, name=self.name, action=action, details=details or {}, note=note)

    def _requested(self, current: Message) -> Message:
        requested = type(current)()
        requested.CopyFrom(current)
        for field in self._desired.fields:
            requested.ClearField(field)
        requested.MergeFrom(self._desired.message)
        return requested

    async def _update(self, *, validate_only: bool) -> Message:
        desired = self._desired
        return cast(
            "Message", await self._resources.update(desired.message, *desired.fields, validate_only=validate_only)
        )


async def _delete(connection: Connection, orphan: Change) -> None:
    if orphan.kind == DeclaredRollout.kind:
        await remove_policy(connection, orphan.name)
    else:
        await KINDS[orphan.kind](connection).delete(orphan.name)


async def _named(kind: str, name: str, done: list[Change], work: Awaitable[T]) -> T:
    try:
        return await work
    except TidemillError as error:
        part = f"{kind} {name}"
        raise ApplyFailed(part, done, error) from error


def _differences(desired: Desired, before: Message, after: Message) -> dict[str, tuple[object, object]]:
    """Return the differences in the fields that the file owns."""
    old, new = _facts(desired, before), _facts(desired, after)
    different = {key: (old.get(key), new.get(key)) for key in sorted(old | new) if old.get(key) != new.get(key)}
    if different.pop(_DIGEST, None):
        different["cases"] = _case_difference(desired, before, after)
    return different


def _facts(desired: Desired, message: Message) -> dict[str, Any]:
    """Return the compared fields; excludes the live model of a deployment that follows a training."""
    facts = MessageToDict(message, preserving_proto_field_name=True)
    if facts.get("follow"):
        facts[_RESOLVED] = {key: value for key, value in facts.get(_RESOLVED, {}).items() if key not in _MOVED}
    owned = {*desired.fields, _RESOLVED, _DIGEST} - {"cases"}
    return {key: value for key, value in facts.items() if key in owned}


def _cases(suite: Message) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = MessageToDict(suite).get("cases", [])
    return cases


def _case_difference(desired: Desired, before: Message, after: Message) -> tuple[object, object]:
    """Summarise the cases before and after: listing all of them would hide the rest of a diff.

    Those that were accepted of proposals stay.
    """
    old, new = ({case["id"]: case for case in _cases(message)} for message in (before, desired.message))
    old = {name: case for name, case in old.items() if name in new or "proposal" not in case}
    if not new:  # the evaluator ships them
        return f"{len(old)} cases", f"{cast('Any', after).case_count} cases that the evaluator ships"
    changed = sum(old[each] != new[each] for each in old.keys() & new.keys())
    came, went = len(new.keys() - old.keys()), len(old.keys() - new.keys())
    return f"{len(old)} cases", f"{len(new)} cases: {came} new, {went} gone, {changed} changed"


def _silent(_text: str, _share: float) -> None:
    """Ignore the progress."""
