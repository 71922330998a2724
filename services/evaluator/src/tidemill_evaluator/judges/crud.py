"""Use cases: create, get, list, update and delete judges."""

from collections.abc import Awaitable, Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Final

from tidemill_core import resources
from tidemill_core.application import Caller, Page, PageRequest
from tidemill_core.errors import Violation
from tidemill_core.resources import Write, copy_fields, fields_of, refuse, restored
from tidemill_evaluator.errors import JudgeInUse
from tidemill_evaluator.judges.domain.judge import Judge
from tidemill_evaluator.judges.ports import JudgedItems, Judges

CHANGEABLE: Final = fields_of(Judge) - {"number", "agreement", "measurement", "drift"}
GatesOfJudge = Callable[[Caller, str], Awaitable[Sequence[str]]]
"""Returns the names of the gates that require a metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeCrud:
    """Judges emit no events. A change of what one judges by is its next version."""

    judges: Judges
    judged: JudgedItems
    gates_of: GatesOfJudge

    async def get(self, caller: Caller, judge_id: str) -> Judge:
        """Return a judge.

        Raises:
            JudgeNotFound: there is none.

        """
        return await self.judges.get(caller.project, judge_id)

    async def list(self, caller: Caller, page: PageRequest) -> Page[Judge]:
        """Return a page."""
        return await self.judges.list(caller.project, page=page)

    async def create(self, caller: Caller, given: Judge, write: Write) -> Judge:
        """Return the new judge; the id of a deleted one may be reused, and version numbers continue.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            AlreadyExists: the id is taken.

        """
        given.check()
        await self._check_members(caller, given)
        fresh = replace(given, project=caller.project)
        restore = restored(fresh, CHANGEABLE)

        def begin(judge: Judge) -> None:
            restore(judge)
            judge.number += 1
            judge.agreement = judge.measurement = judge.drift = None  # they are the deleted one's

        return await resources.create(self.judges, fresh, write, begin=begin)

    async def update(self, caller: Caller, given: Judge, fields: frozenset[str], write: Write) -> Judge:
        """Return the updated judge; what is under way with another version ends without a result.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            JudgeNotFound: there is none.
            JudgeInUse: its mode is to change, and juries have it.
            Conflict: it changed since the etag.

        """
        if fields & {"members", "mode"}:
            await self._check_changed(caller, given, fields)

        def change(judge: Judge) -> None:
            before = judge.image
            copy_fields(given, judge, fields)
            judge.check()
            if judge.image != before:
                judge.number += 1
                judge.stop_measurement("the judge was changed while it was measured: measure it again")

        return await resources.update(self.judges, caller.project, given.id, change, write)

    async def delete(self, caller: Caller, judge_id: str, write: Write) -> Judge:
        """Return the deleted judge; scores that it has given are kept.

        Raises:
            JudgeNotFound: there is none.
            JudgeInUse: names the gates that require it, and the juries that have it.
            Conflict: it changed since the etag.

        """
        judge = await self.judges.get(caller.project, judge_id)
        users = [*await self.gates_of(caller, judge.metric), *await self._juries_with(caller, judge_id)]

        def check(judge: Judge) -> None:
            if users:
                raise JudgeInUse(judge_id, users)
            judge.stop_measurement("the judge was deleted")

        deleted = await resources.delete(self.judges, caller.project, judge_id, write, change=check)
        if not write.validate_only:
            await self.judged.forget_others(caller.project, judge_id, measurements=[])
        return deleted

    async def _check_changed(self, caller: Caller, given: Judge, fields: frozenset[str]) -> None:
        stored = await self.judges.get(caller.project, given.id)
        changed = deepcopy(stored)
        copy_fields(given, changed, fields)
        await self._check_members(caller, changed)
        if changed.mode is not stored.mode and (juries := await self._juries_with(caller, given.id)):
            raise JudgeInUse(given.id, juries)

    async def _check_members(self, caller: Caller, given: Judge) -> None:
        known = await self.judges.get_many(caller.project, [*given.members]) if given.members else {}
        mode = given.mode.name
        refuse(
            Violation(f"judge.members[{place}]", f"is {name}, which is no judge of mode {mode}: name one, and no jury")
            for place, name in enumerate(given.members)
            if name not in known or known[name].members or known[name].mode is not given.mode
        )

    async def _juries_with(self, caller: Caller, judge_id: str) -> Sequence[str]:
        """Return the juries that a judge is in, by a scan of all judges: projects have few."""
        judges = resources.list_all(self.judges, caller.project)
        return [judge.id async for judge in judges if judge_id in judge.members]
