"""Use case: start a prompt test."""

from collections.abc import Iterator
from dataclasses import dataclass

from tidemill_core.application import Caller, Request, ResourceKey
from tidemill_core.errors import AlreadyExists, InvalidInput, RequestIdReused, Violation
from tidemill_core.resources import refuse
from tidemill_evaluator.errors import CandidateNotReady
from tidemill_evaluator.evaluations.ports import Enqueue, Inference, Models, Prompts
from tidemill_evaluator.metrics.domain.metric import unknown
from tidemill_evaluator.metrics.registry import Registry
from tidemill_evaluator.prompt_tests.domain.grid import Grid, GridLimits
from tidemill_evaluator.prompt_tests.domain.prompt_test import PromptTest
from tidemill_evaluator.prompt_tests.ports import ComparingJudges, PromptTests
from tidemill_evaluator.suites.domain.limits import Limits
from tidemill_evaluator.suites.domain.names import name_of, number_of
from tidemill_evaluator.suites.ports import Suites


@dataclass(frozen=True, slots=True, kw_only=True)
class StartPromptTest:
    """The id derives from the request id, so a repeated request starts nothing."""

    tests: PromptTests
    suites: Suites
    models: Models
    inference: Inference
    prompts: Prompts
    metrics: Registry
    comparing: ComparingJudges
    limits: Limits
    size: GridLimits
    enqueue: Enqueue

    async def __call__(
        self, caller: Caller, grid: Grid, *, request: Request, validate_only: bool = False
    ) -> PromptTest:
        """Return the test, QUEUED.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            SuiteNotFound, NotFound: there is no such suite, deployment, prompt, model version or judge.
            CandidateNotReady: a model version cannot answer.
            DependencyUnavailable: inference or trainer is unavailable.

        """
        refuse(iter([*grid.violations(self.limits, self.size), *self._of_metrics(grid)]))
        await self.metrics.check(caller, grid.metrics, gating=False)
        compared = await self.comparing(caller, grid.metrics)
        why = "compares two answers: ask a judge of mode POINTWISE, which scores each answer"
        refuse(Violation("metrics", f"{name!r} {why}") for name in compared)
        await self._check_size(caller, grid)
        await self._check_variants(caller, grid)
        test = PromptTest.queued(
            caller.project, grid, request_id=request.id, asked_by=request.digest, requester=caller.proven_subject
        )
        if validate_only:
            return test
        saved = await self._add(test, request)
        self.enqueue(ResourceKey(project=saved.project, id=saved.id))
        return saved

    def _of_metrics(self, grid: Grid) -> Iterator[Violation]:
        most = self.limits.metrics_by_hand
        if len(grid.metrics) > most:
            yield Violation("metrics", f"has {len(grid.metrics)} metrics; the limit is {most}")
        for name in grid.metrics[:most]:
            if self.metrics.find(name) is None:
                yield Violation("metrics", unknown(name, self.metrics.names))

    async def _check_size(self, caller: Caller, grid: Grid) -> None:
        cases = grid.number_of((await self.suites.get(caller.project, grid.suite)).size if grid.suite else 0)
        cells, variants = cases * len(grid.variants), len(grid.variants)
        if cells > self.size.cells:
            text = f"make {cells} answers of {cases} cases by {variants} variants; the limit is {self.size.cells}"
            refuse(iter([Violation("max_cases", f"{text}: set it to {self.size.cells // variants} at most")]))

    async def _check_variants(self, caller: Caller, grid: Grid) -> None:
        for name in grid.deployments:
            await self.inference.live(caller, name)
        for version in dict.fromkeys(each.model for each in grid.variants if each.model):
            if not (await self.models.version(caller, version)).ready:
                raise CandidateNotReady(version)
        await self._check_prompts(caller, grid)

    async def _check_prompts(self, caller: Caller, grid: Grid) -> None:
        numbers = {
            name: (await self.prompts.prompt(caller, name)).variables
            for name in dict.fromkeys(name_of(each.prompt) for each in grid.variants if each.prompt)
        }
        for place, each in enumerate(grid.variants):
            if each.prompt and number_of(each.prompt) not in numbers[name_of(each.prompt)]:
                text = f"there is no {each.prompt}: name a version that the prompt has"
                raise InvalidInput.at(field=f"variants[{place}].prompt", text=text)

    async def _add(self, test: PromptTest, request: Request) -> PromptTest:
        try:
            return await self.tests.add(test, request=request)
        except AlreadyExists:  # the aggregate's request log has expired
            stored = await self.tests.get(test.project, test.id)
            if stored.asked_by != request.digest:
                raise RequestIdReused(request.id) from None
            return stored
