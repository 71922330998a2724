"""Use cases: create, get, list, update and delete judges."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tidemill_core import resources
from tidemill_core.application import Caller, Page, PageRequest
from tidemill_core.resources import Write, copy_fields, fields_of, restored
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
            Conflict: it changed since the etag.

        """

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

    async def _juries_with(self, caller: Caller, judge_id: str) -> Sequence[str]:
        """Return the juries that a judge is in, by a scan of all judges: projects have few."""
        judges = resources.list_all(self.judges, caller.project)
        return [judge.id async for judge in judges if judge_id in judge.members]
