"""Use cases: get, list and cancel prompt tests."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Page, PageRequest, Request
from tidemill_evaluator.prompt_tests.domain.prompt_test import PromptTest
from tidemill_evaluator.prompt_tests.ports import PromptTests


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTestCrud:
    """The worker of a cancelled test stops at its next write."""

    tests: PromptTests
    clock: Clock

    async def get(self, caller: Caller, test_id: str) -> PromptTest:
        """Return a test.

        Raises:
            EvaluationNotFound: there is none.

        """
        return await self.tests.get(caller.project, test_id)

    async def list(self, caller: Caller, page: PageRequest) -> Page[PromptTest]:
        """Return a page."""
        return await self.tests.list(caller.project, page=page)

    async def cancel(self, caller: Caller, test_id: str, *, request: Request) -> PromptTest:
        """Return the cancelled test; no effect if it is already cancelled.

        Raises:
            EvaluationNotFound: there is none.
            EvaluationFinished: it ended otherwise.

        """
        now = self.clock.now()
        return await self.tests.update(caller.project, test_id, lambda test: test.cancel(now), request=request)
