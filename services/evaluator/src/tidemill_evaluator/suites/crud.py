"""Use cases: create, get, list, update and delete suites."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tidemill_core import resources
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller, Page, PageRequest
from tidemill_core.errors import Conflict, InvalidInput, Violation
from tidemill_core.paging import numbered_page
from tidemill_core.resources import Write, copy_fields
from tidemill_evaluator.errors import SuiteInUse
from tidemill_evaluator.suites.case_schemas import wrong_schemas
from tidemill_evaluator.suites.domain.cases import SHOWN, Case, with_origins
from tidemill_evaluator.suites.domain.limits import Limits
from tidemill_evaluator.suites.domain.shipped import ShippedSuite
from tidemill_evaluator.suites.domain.suite import Suite
from tidemill_evaluator.suites.ports import Cases, GatesOfSuite, Restricted, Schemas, ShippedSuites, Suites
from tidemill_evaluator.suites.readable import readable

CHANGEABLE: Final = frozenset({"labels", "cases", "generated_by", "shipped"})
_CASES: Final = frozenset({"cases", "shipped"})
_QUOTED = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteCrud:
    """Suites emit no events. Cases are stored before the suite refers to them, and are immutable."""

    suites: Suites
    cases: Cases
    schemas: Schemas
    gates_of: GatesOfSuite
    shipped: ShippedSuites
    restricted: Restricted
    limits: Limits

    async def get(self, caller: Caller, suite_id: str) -> tuple[Suite, Sequence[Case]]:
        """Return a suite with its current cases.

        Those of proposals that rest on documents which the caller may not read are left out, and those of others are
        shown without the messages before the question: as recorded answers are.

        Raises:
            SuiteNotFound: there is none.
            DependencyUnavailable: ingest, which knows the readers, does not answer.

        """
        suite = await self.suites.get(caller.project, suite_id)
        cases = await self.cases.read(caller.project, suite.case_set)
        if not suite.proposed:
            return suite, cases
        known = await readable(self.restricted, caller, [case for case in cases if case.proposal])
        return suite, [known.get(case.id, case) for case in cases if case.id in known or not case.proposal]

    async def list(self, caller: Caller, page: PageRequest) -> Page[Suite]:
        """Return a page of suites without cases."""
        return await self.suites.list(caller.project, page=page)

    async def list_shipped(self, caller: Caller, page: PageRequest) -> Page[ShippedSuite]:
        """Return a page of the suites that are part of this release."""
        shipped = await self.shipped.all(caller)
        places, token = numbered_page(range(len(shipped)), page)
        return Page(items=[shipped[place] for place in places], next_token=token)

    async def create(self, caller: Caller, given: Suite, cases: Sequence[Case], write: Write) -> Suite:
        """Return the new suite; the name of a deleted suite may be reused, and version numbers continue.

        Raises:
            InvalidInput: naming field, value and limit.
            AlreadyExists: the id is taken.

        """
        cases = await self._cases(caller, given, cases)
        await asyncio.to_thread(given.check, self.limits, cases)
        await self._check_schemas(caller, cases)
        content = await self._put(caller, given.id, cases, write)

        def begin(suite: Suite) -> None:
            suite.create(dict(given.labels), generated_by=given.generated_by, shipped=given.shipped)
            suite.take(cases, content)

        return await resources.create(self.suites, Suite(id=given.id, project=caller.project), write, begin=begin)

    async def update(  # noqa: PLR0913 - what is changed, and how
        self,
        caller: Caller,
        given: Suite,
        cases: Sequence[Case],
        fields: frozenset[str],
        write: Write,
        *,
        keep_proposed: bool = False,
    ) -> Suite:
        """Return the updated suite; changed cases create the next version.

        Cases that are sent end what it took from a shipped suite; of those that it took from proposals it keeps where
        they come from. `keep_proposed` keeps those that are not sent, too.

        Raises:
            InvalidInput: naming field, value and limit.
            SuiteNotFound: there is none.
            Conflict: it changed since the etag.

        """
        stored = await self.suites.get(caller.project, given.id)
        new_cases = bool(fields & _CASES)
        if new_cases:  # what the mask does not name is as if it were not sent
            given.shipped = given.shipped if "shipped" in fields else None
            cases = await self._cases(caller, given, cases if "cases" in fields else ())
            if stored.proposed:
                known = await self.cases.read(caller.project, stored.case_set)
                cases = with_origins(cases, known, keep=keep_proposed and not given.shipped)
        await asyncio.to_thread(given.check, self.limits, cases if new_cases else None)
        await self._check_schemas(caller, cases if new_cases else ())
        content = await self._put(caller, given.id, cases, write) if new_cases else None

        def change(suite: Suite) -> None:
            copy_fields(given, suite, fields - _CASES)
            if new_cases:
                if keep_proposed and suite.number != stored.number:
                    message = f"suite {suite.id} has another version meanwhile: repeat the change"
                    raise Conflict(message)
                suite.shipped = given.shipped
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

    async def _cases(self, caller: Caller, given: Suite, cases: Sequence[Case]) -> Sequence[Case]:
        """Return the cases that are sent, or those of the shipped suite that is named in their place.

        Raises:
            InvalidInput: both are there, or there is no such suite, or none of its cases is meant.

        """
        named = given.shipped
        if named is None:
            return cases
        if cases:
            text = "is for suites without cases of their own: send one of both"
            raise InvalidInput.at(field="suite.shipped", text=text)
        known = {each.id: each for each in await self.shipped.all(caller)}
        if named.suite not in known:
            text = f"is {named.suite[:_QUOTED]!r}: the evaluator ships {', '.join(known)}"
            raise InvalidInput.at(field="suite.shipped.suite", text=text)
        return named.of(known[named.suite])

    async def _check_schemas(self, caller: Caller, cases: Sequence[Case]) -> None:
        """Refuse what is no JSON Schema, by case and place; the same schema is checked once."""
        wrong = await wrong_schemas(self.schemas, caller, cases)
        violations = [Violation(f"suite.cases[{number}].schema", why) for number, why in wrong.items()]
        if violations:
            raise InvalidInput.of(*violations[:SHOWN])

    async def _put(self, caller: Caller, suite_id: str, cases: Sequence[Case], write: Write) -> ObjectRef | None:
        return None if write.validate_only else await self.cases.put(caller.project, suite_id, cases)
