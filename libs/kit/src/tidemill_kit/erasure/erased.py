"""What a service has erased, as its own rows say: what is older than that and comes late is not stored again."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from tidemill_kit.access.holds import Scope
from tidemill_kit.erasure.erasures import State, digest_of_subject
from tidemill_kit.erasure.steps import Target
from tidemill_kit.store import mongo
from tidemill_kit.store.batching import BatchedByKey
from tidemill_kit.store.mongo import translated

_BATCH: Final = 500
_STILL: Final = datetime.max.replace(tzinfo=UTC)
"""Of an erasure that is under way: whatever comes now is removed with the rest."""


class _Of(NamedTuple):
    project: str
    scope: Scope


class ErasedSubjects:
    """Answers until when what came of a subject is erased. A row that waits, or is held, erases nothing yet."""

    def __init__(self, rows: mongo.Collection) -> None:
        self._rows = rows
        self._read = BatchedByKey(self._read_all, repeatable=True)

    async def ensure_indexes(self) -> None:
        """Create the index by which subjects are found; idempotent."""
        with translated():
            await self._rows.create_index([("project", 1), ("state.scope", 1), ("state.subject", 1)])

    async def __call__(self, project: str, scope: Scope, subjects: Collection[str]) -> Mapping[str, datetime]:
        """Return the moment by subject, of those that were erased; a later one is of what came since.

        What is asked of a project at the same time is read by one command, which begins after the last was asked.
        """
        of, asked = _Of(project, scope), sorted({each for each in subjects if each})
        moments = [await self._read(of, asked[0])] if len(asked) == 1 else await self._read_all(of, asked)
        return {each: moment for each, moment in zip(asked, moments, strict=True) if moment is not None}

    async def _read_all(self, of: _Of, asked: Sequence[str]) -> Sequence[datetime | None]:
        """Return the moment of each, None of one that was not erased."""
        until = dict[str, datetime]()
        for start in range(0, len(asked), _BATCH):
            until |= await self._found(of, asked[start : start + _BATCH])
        return [until.get(each) for each in asked]

    async def _found(self, of: _Of, asked: Sequence[str]) -> Mapping[str, datetime]:
        project, scope = of
        stored = {each: each for each in asked}
        stored |= {digest_of_subject(Target(project=project, scope=scope, subject=each)): each for each in asked}
        where = {"project": project, "state.scope": scope.value, "state.subject": {"$in": list(stored)}}
        with translated():
            rows = await self._rows.find(where, {"state": True}).to_list(None)
        until = dict[str, datetime]()
        for state in (row["state"] for row in rows):
            if state["start_time"] is None or state["state"] == State.HELD.value:
                continue
            subject, moment = stored[state["subject"]], state["complete_time"] or _STILL
            until[subject] = max(moment, until.get(subject, moment))
        return until

    async def end_users(self, project: str, end_users: Collection[str], /) -> Mapping[str, datetime]:
        """Return the moment by end user, of those that were erased."""
        return await self(project, Scope.END_USER, end_users)
