"""Use cases: create, get, list, update and delete suites."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

from tidemill_core.application import Caller, Page, PageRequest, Request
from tidemill_core.errors import AlreadyExists
from tidemill_evaluator.errors import SuiteInUse, SuiteNotFound
from tidemill_evaluator.etags import refuse_changed
from tidemill_evaluator.suites.domain.cases import Case
from tidemill_evaluator.suites.domain.limits import Limits
from tidemill_evaluator.suites.domain.suite import Suite
from tidemill_evaluator.suites.ports import Cases, GatesOfSuite, Suites

CHANGEABLE = frozenset({"labels", "cases"})


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateSuiteCommand:
    """Sets `fields`; `etag` is the revision that the caller read."""

    suite: Suite
    cases: Sequence[Case]
    fields: frozenset[str]
    request: Request
    etag: str = ""
    validate_only: bool = False


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
        """Return a page of suites without cases, oldest first."""
        return await self.suites.list(caller.project, page=page)

    async def create(
        self, given: Suite, cases: Sequence[Case], *, request: Request, validate_only: bool = False
    ) -> Suite:
        """Return the new suite; the name of a deleted suite may be reused, and version numbers continue.

        Raises:
            InvalidInput: naming field, value and limit.
            AlreadyExists: the id is taken.

        """
        given.check(self.limits, cases)
        if validate_only:
            return await self._preview(given, cases)
        content = await self.cases.put(given.project, given.id, cases)

        def create(suite: Suite) -> None:
            suite.create(dict(given.labels))
            suite.take(cases, content)

        fresh = Suite(id=given.id, project=given.project)
        return await self.suites.upsert(fresh, create, request=request)

    async def update(self, command: UpdateSuiteCommand) -> Suite:
        """Return the updated suite; changed cases create the next version.

        Raises:
            InvalidInput: naming field, value and limit.
            SuiteNotFound: there is none.
            Conflict: it changed since the etag.

        """
        given, new_cases = command.suite, "cases" in command.fields
        preview = await self.suites.get(given.project, given.id)
        given.check(self.limits, command.cases if new_cases else None)
        content = None
        if new_cases and not command.validate_only:
            content = await self.cases.put(given.project, given.id, command.cases)

        def change(suite: Suite) -> None:
            refuse_changed(suite, command.etag)
            if "labels" in command.fields:
                suite.labels = dict(given.labels)
            if new_cases:
                suite.take(command.cases, content)

        if command.validate_only:
            change(preview)
            return preview
        return await self.suites.update(given.project, given.id, change, request=command.request)

    async def delete(
        self, caller: Caller, suite_id: str, *, etag: str, request: Request, validate_only: bool = False
    ) -> Suite:
        """Return the deleted suite; its versions stay readable for evaluations.

        Raises:
            SuiteNotFound: there is none.
            SuiteInUse: names the gates that refer to it.
            Conflict: it changed since the etag.

        """

        def change(suite: Suite) -> None:
            refuse_changed(suite, etag)
            suite.deleted = True

        preview = await self.suites.get(caller.project, suite_id)
        if gates := await self.gates_of(caller, suite_id):
            raise SuiteInUse(suite_id, gates)
        if validate_only:
            refuse_changed(preview, etag)
            return preview
        return await self.suites.update(caller.project, suite_id, change, request=request)

    async def _preview(self, given: Suite, cases: Sequence[Case]) -> Suite:
        try:
            await self.suites.get(given.project, given.id)
        except SuiteNotFound:
            preview = deepcopy(given)
            preview.take(cases, None)
            return preview
        message = f"{given.id} already exists: choose another id"
        raise AlreadyExists(message, id=given.id)
