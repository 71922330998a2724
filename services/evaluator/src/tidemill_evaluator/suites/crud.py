"""Use cases: create, get, list, update and delete suites."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tidemill_core import resources
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller, Page, PageRequest
from tidemill_core.resources import Write, copy_fields
from tidemill_evaluator.errors import SuiteInUse
from tidemill_evaluator.suites.domain.cases import Case
from tidemill_evaluator.suites.domain.limits import Limits
from tidemill_evaluator.suites.domain.suite import Suite
from tidemill_evaluator.suites.ports import Cases, GatesOfSuite, Suites

CHANGEABLE: Final = frozenset({"labels", "cases", "generated_by"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteCrud:
    """Suites emit no events. Cases are stored before the suite refers to them, and are immutable."""

    suites: Suites
    cases: Cases
    gates_of: GatesOfSuite
    limits: Limits

    async def get(self, caller: Caller, suite_id: str) -> tuple[Suite, Sequence[Case]]:
        """Return a suite with its current cases.

        Raises:
            SuiteNotFound: there is none.

        """
        suite = await self.suites.get(caller.project, suite_id)
        return suite, await self.cases.read(caller.project, suite.case_set)

    async def list(self, caller: Caller, page: PageRequest) -> Page[Suite]:
        """Return a page of suites without cases."""
        return await self.suites.list(caller.project, page=page)

    async def create(self, caller: Caller, given: Suite, cases: Sequence[Case], write: Write) -> Suite:
        """Return the new suite; the name of a deleted suite may be reused, and version numbers continue.

        Raises:
            InvalidInput: naming field, value and limit.
            AlreadyExists: the id is taken.

        """
        given.check(self.limits, cases)
        content = await self._put(caller, given.id, cases, write)

        def begin(suite: Suite) -> None:
            suite.create(dict(given.labels), generated_by=given.generated_by)
            suite.take(cases, content)

        return await resources.create(self.suites, Suite(id=given.id, project=caller.project), write, begin=begin)

    async def update(
        self, caller: Caller, given: Suite, cases: Sequence[Case], fields: frozenset[str], write: Write
    ) -> Suite:
        """Return the updated suite; changed cases create the next version.

        Raises:
            InvalidInput: naming field, value and limit.
            SuiteNotFound: there is none.
            Conflict: it changed since the etag.

        """
        await self.suites.get(caller.project, given.id)
        new_cases = "cases" in fields
        given.check(self.limits, cases if new_cases else None)
        content = await self._put(caller, given.id, cases, write) if new_cases else None

        def change(suite: Suite) -> None:
            copy_fields(given, suite, fields - {"cases"})
            if new_cases:
                suite.take(cases, content)

        return await resources.update(self.suites, caller.project, given.id, change, write)

    async def delete(self, caller: Caller, suite_id: str, write: Write) -> Suite:
        """Return the deleted suite; its versions stay readable for evaluations.

        Raises:
            SuiteNotFound: there is none.
            SuiteInUse: names the gates that refer to it.
            Conflict: it changed since the etag.

        """
        gates = await self.gates_of(caller, suite_id)

        def check(_: Suite) -> None:
            if gates:
                raise SuiteInUse(suite_id, gates)

        return await resources.delete(self.suites, caller.project, suite_id, write, change=check)

    async def _put(self, caller: Caller, suite_id: str, cases: Sequence[Case], write: Write) -> ObjectRef | None:
        return None if write.validate_only else await self.cases.put(caller.project, suite_id, cases)
