"""Use cases: create, get, update and delete suites."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

from tidemill_core.application import Caller, PageRequest, Request
from tidemill_core.errors import AlreadyExists, NotFound
from tidemill_evaluator.errors import SuiteInUse, SuiteNotFound
from tidemill_evaluator.etags import refuse_changed
from tidemill_evaluator.evaluations.ports import Cases, Gates, SuiteCases, Suites
from tidemill_evaluator.suites.domain.cases import Case
from tidemill_evaluator.suites.domain.limits import Limits
from tidemill_evaluator.suites.domain.suite import Suite

CHANGEABLE = frozenset({"labels", "cases"})
_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateSuiteCommand:
    """The requested suite."""

    suite: Suite
    cases: Sequence[Case]
    request: Request
    validate_only: bool = False


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
class DeleteSuiteCommand:
    """`etag` is the revision that the caller read."""

    suite: str
    request: Request
    etag: str = ""
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSuites:
    """Suites emit no events. Cases are stored before the suite refers to them, and are immutable."""

    suites: Suites
    gates: Gates
    contents: SuiteCases
    cases: Cases
    limits: Limits

    async def create(self, command: CreateSuiteCommand) -> Suite:
        """Return the new suite; the name of a deleted suite may be reused, and version numbers continue.

        Raises:
            InvalidInput: naming field, value and limit.
            AlreadyExists: the id is taken.

        """
        given = command.suite
        given.check(self.limits, command.cases)
        if command.validate_only:
            return await self._preview(given, command.cases)
        content = await self.contents.put(given.project, given.id, command.cases)

        def create(suite: Suite) -> None:
            suite.create(dict(given.labels))
            suite.take(command.cases, content)

        fresh = Suite(id=given.id, project=given.project)
        return await self.suites.upsert(fresh, create, request=command.request)

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
            content = await self.contents.put(given.project, given.id, command.cases)

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

    async def delete(self, caller: Caller, command: DeleteSuiteCommand) -> Suite:
        """Return the deleted suite; its versions stay readable for evaluations.

        Raises:
            SuiteNotFound: there is none.
            SuiteInUse: names the gates that refer to it.
            Conflict: it changed since the etag.

        """

        def change(suite: Suite) -> None:
            refuse_changed(suite, command.etag)
            suite.deleted = True

        if users := await self._gates_of(caller.project, command.suite):
            raise SuiteInUse(command.suite, users)
        if command.validate_only:
            preview = await self.suites.get(caller.project, command.suite)
            refuse_changed(preview, command.etag)
            return preview
        return await self.suites.update(caller.project, command.suite, change, request=command.request)

    async def read(self, caller: Caller, suite_id: str) -> tuple[Suite, Sequence[Case]]:
        """Return a suite with its current cases.

        Raises:
            SuiteNotFound: there is none.

        """
        suite = await self.suites.get(caller.project, suite_id)
        return suite, await self.cases.read(caller.project, suite.case_set)

    async def _preview(self, given: Suite, cases: Sequence[Case]) -> Suite:
        try:
            await self.suites.get(given.project, given.id)
        except SuiteNotFound:
            preview = deepcopy(given)
            preview.take(cases, None)
            return preview
        message = f"{given.id} already exists: choose another id"
        raise AlreadyExists(message, id=given.id)

    async def _gates_of(self, project: str, suite: str) -> list[str]:
        """Return the gates that require the suite, by a scan of all gates: projects have few."""
        try:
            await self.suites.get(project, suite)
        except NotFound:
            return []
        found, token = list[str](), ""
        while True:
            page = await self.gates.list(project, page=PageRequest(size=_PAGE, token=token))
            found += [gate.id for gate in page.items if any(each.suite == suite for each in gate.require)]
            if not (token := page.next_token):
                return found
