"""Runs a prompt test; a worker may be killed at any point and another one resumes."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tidemill_core.application import Caller, Clock, Request, Requeue
from tidemill_core.errors import InvalidInput, NotFound, PermissionDenied
from tidemill_evaluator.errors import (
    DEPLOYMENT_CHANGED,
    DEPLOYMENT_UNAVAILABLE,
    NO_CASES,
    PASSING,
    EvaluationLost,
    EvaluationNotFound,
    NoVerdict,
    first_of,
    waits_for,
)
from tidemill_evaluator.evaluations.domain.job import State
from tidemill_evaluator.evaluations.ports import Inference, Live
from tidemill_evaluator.evaluations.turns import NewTurns
from tidemill_evaluator.metrics.registry import Registry
from tidemill_evaluator.prompt_tests.answer_case import AnswerCase, DeploymentTurns, GridAsking
from tidemill_evaluator.prompt_tests.compute_grid import ComputeGrid
from tidemill_evaluator.prompt_tests.domain.cells import CaseCells
from tidemill_evaluator.prompt_tests.domain.prompt_test import PinnedGrid, PromptTest
from tidemill_evaluator.prompt_tests.ports import PromptResults, PromptTests
from tidemill_evaluator.suites.domain.cases import Case
from tidemill_evaluator.suites.ports import Cases, Suites

REPORT_EVERY_S = 1.0
"""Progress is written at most so often."""


@dataclass(slots=True, kw_only=True)
class _Progress:
    began: datetime
    ahead: int
    reported: datetime
    results: list[CaseCells] = field(default_factory=list)

    def remaining_s(self, now: datetime) -> float | None:
        done = len(self.results)
        return (now - self.began).total_seconds() / done * (self.ahead - done) if done else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPromptTest:
    """Cases, models and live configurations are pinned first; a case is stored once all variants have answered it."""

    tests: PromptTests
    suites: Suites
    cases: Cases
    results: PromptResults
    inference: Inference
    metrics: Registry
    answer: AnswerCase
    compute_grid: ComputeGrid
    max_concurrent: asyncio.Semaphore
    """Cases in flight in this process, over all its tests."""
    turns: NewTurns
    clock: Clock

    async def __call__(self, caller: Caller, test_id: str, *, epoch: int) -> Requeue | None:
        """Run the test under a lease with this epoch; `Requeue` means that it waits for another service."""
        try:
            return await self._run(caller, test_id, epoch)
        except (EvaluationLost, EvaluationNotFound):
            return None  # it is finished or cancelled, or another worker has it

    async def _run(self, caller: Caller, test_id: str, epoch: int) -> Requeue | None:
        test = await self.tests.update(caller.project, test_id, lambda t: t.claim(epoch), request=Request.internal())
        try:
            await self._ask(caller, test)
        except PASSING as passing:
            message = waits_for(passing)
            await self._write(test, lambda t: t.wait(message, epoch=epoch))
            return Requeue()
        except NoVerdict as none:
            reason, why, now = none.reason, none.message, self.clock.now()
            await self._write(test, lambda t: t.fail(reason=reason, message=why, now=now, epoch=epoch))
        return None

    async def _ask(self, caller: Caller, test: PromptTest) -> None:
        live = await self._live(caller, test)
        if test.state is State.QUEUED:
            test = await self._begin(caller, test, live)
        pinned, epoch = test.pinned, test.epoch
        if pinned is None:
            raise EvaluationLost(test.id)
        _refuse_changed(pinned, live)
        cases = await self._cases(test, pinned)
        turns = {
            name: DeploymentTurns(deadline_s=each.deadline_s, turns=self.turns(each.deadline_s, steady=True))
            for name, each in live.items()
        }
        asking = GridAsking(caller=caller, test=test, pinned=pinned, turns=turns)
        results = await self._ask_all(asking, cases)
        _refuse_changed(pinned, await self._live(caller, test))
        _refuse_mixed(test, results)
        figures, now = await self.compute_grid(test.grid, cases, results), self.clock.now()
        await self._write(test, lambda t: t.complete(figures, now=now, epoch=epoch))

    async def _live(self, caller: Caller, test: PromptTest) -> dict[str, Live]:
        """Return what is live of each deployment."""
        try:
            return {name: await self.inference.live(caller, name) for name in test.grid.deployments}
        except NotFound as error:
            raise NoVerdict(DEPLOYMENT_UNAVAILABLE, error.message) from error

    async def _begin(self, caller: Caller, test: PromptTest, live: dict[str, Live]) -> PromptTest:
        grid, case_set = test.grid, None
        if grid.suite:
            try:
                case_set = (await self.suites.get(caller.project, grid.suite)).case_set
            except NotFound as error:
                raise NoVerdict(NO_CASES, error.message) from error
            case_set = case_set.at_most(grid.max_cases) if grid.max_cases else case_set
        models = tuple(each.model or live[each.deployment].model for each in grid.variants)
        pinned = PinnedGrid(
            cases=grid.number_of(case_set.size if case_set else 0),
            case_set=case_set,
            models=models,
            configurations={name: each.digest for name, each in live.items()},
            pins=await self.metrics.pin(caller, grid.metrics, answering=dict.fromkeys(models), gating=False),
        )
        return await self._write(test, lambda t: t.begin(pinned, epoch=test.epoch))

    async def _cases(self, test: PromptTest, pinned: PinnedGrid) -> Sequence[Case]:
        if pinned.case_set is None:
            return test.grid.questions
        try:
            cases = await self.cases.read(test.project, pinned.case_set)
        except (NotFound, InvalidInput, PermissionDenied) as error:
            message = f"the cases of {pinned.case_set.name} cannot be read: {error.message}"
            raise NoVerdict(NO_CASES, message) from error
        chosen = [case for case in cases if not test.grid.cases or case.id in test.grid.cases]
        if len(chosen) < pinned.cases:
            message = f"{pinned.case_set.name} has {len(chosen)} of the {pinned.cases} cases that are named"
            raise NoVerdict(NO_CASES, message)
        return chosen

    async def _ask_all(self, asking: GridAsking, cases: Sequence[Case]) -> Sequence[CaseCells]:
        test = asking.test
        known = await self.results.read(test.project, test.id)
        done = [known[case.id] for case in cases if case.id in known]
        todo, now = [case for case in cases if case.id not in known], self.clock.now()
        progress = _Progress(began=now, ahead=len(todo), reported=now)

        async def answer(case: Case) -> None:
            async with self.max_concurrent:
                result = await self.answer(asking, case)
                current = await self.tests.get(test.project, test.id)
                current.refuse_unless_claimed(test.epoch)  # one that was ended may be erased
                await self.results.keep(test.project, test.id, result, epoch=test.epoch)
            progress.results.append(result)
            await self._report(test, progress, known=len(done))

        try:
            async with asyncio.TaskGroup() as group:
                for case in todo:
                    group.create_task(answer(case))
        except ExceptionGroup as failures:
            raise first_of(failures) from failures
        return [*done, *progress.results]

    async def _report(self, test: PromptTest, progress: _Progress, *, known: int) -> None:
        now = self.clock.now()
        if (now - progress.reported).total_seconds() < REPORT_EVERY_S:
            return
        progress.reported = now
        answered, remaining_s = (known + len(progress.results)) * len(test.grid.variants), progress.remaining_s(now)
        await self._write(test, lambda t: t.progress(answered, remaining_s=remaining_s, epoch=test.epoch))

    async def _write(self, test: PromptTest, change: Callable[[PromptTest], None]) -> PromptTest:
        return await self.tests.update(test.project, test.id, change, request=Request.internal())


def _refuse_changed(pinned: PinnedGrid, live: dict[str, Live]) -> None:
    """Refuse answers of a deployment that is another one by now.

    Raises:
        NoVerdict: naming it.

    """
    for name, each in live.items():
        if pinned.configurations[name] != each.digest:
            message = f"deployment {name} was changed while it was asked: start the test again"
            raise NoVerdict(DEPLOYMENT_CHANGED, message)


def _refuse_mixed(test: PromptTest, results: Sequence[CaseCells]) -> None:
    """Refuse answers of a variant that came of several configurations: its deployment changed, and changed back.

    Raises:
        NoVerdict: naming the variant.

    """
    for number, variant in enumerate(test.grid.variants):
        if len({each.cells[number].configuration for each in results} - {""}) > 1:
            message = f"variant {variant.name} was answered by several configurations: start the test again"
            raise NoVerdict(DEPLOYMENT_CHANGED, message)
