"""Erases an end user's and a document's cases of suites, in all versions."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from tidemill_core.application import Request
from tidemill_core.errors import NotFound
from tidemill_evaluator.errors import SuiteNotFound
from tidemill_evaluator.suites.domain.cases import Case
from tidemill_evaluator.suites.domain.suite import Suite
from tidemill_evaluator.suites.ports import CaseOrigins, Cases, Origin, Suites
from tidemill_kit.erasure.steps import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseCases:
    """The current version is followed by one without the cases; the objects of all versions that have them go.

    An object is named until it is removed, so that what was interrupted is found again.
    """

    suites: Suites
    cases: Cases
    origins: CaseOrigins

    async def of_user(self, target: Target) -> int:
        """Erase the cases that an end user asked or corrected; return how many versions had some."""
        found = await self.origins.of_user(target.project, target.subject)
        return await self._erase(found, lambda case: case.is_of(target.subject))

    async def of_document(self, target: Target) -> int:
        """Erase the cases that rest on a document; return how many versions had some."""
        found = await self.origins.of_document(target.subject)
        return await self._erase(found, lambda case: any(each.document == target.subject for each in case.rests_on))

    async def _erase(self, found: Sequence[Origin], erased: Callable[[Case], bool]) -> int:
        for origin in found:
            suite = (await self.suites.get_many(origin.project, [origin.suite])).get(origin.suite)
            if suite is not None and suite.content == origin.content:
                await self._replace(suite, erased)
            await self.cases.remove(origin.content)
            await self.origins.forget(origin)
        return len(found)

    async def _replace(self, suite: Suite, erased: Callable[[Case], bool]) -> None:
        try:
            cases = await self.cases.read(suite.project, suite.case_set)
        except NotFound:  # another process was faster
            return
        left = [case for case in cases if not erased(case)]
        content = await self.cases.put(suite.project, suite.id, left)

        def change(now: Suite) -> None:
            if now.content == suite.content:
                now.take(left, content)

        with suppress(SuiteNotFound):
            await self.suites.update(suite.project, suite.id, change, request=Request.internal())
