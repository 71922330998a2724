import asyncio
from collections.abc import AsyncIterator

import pytest

from services.evaluator.tests.fakes import Evaluator, InMemoryWanted, cases, eventually
from tidemill_evaluator.application.ports import Question
from tidemill_evaluator.domain.evaluation import State
from tidemill_evaluator.entrypoints.workers import EvaluationWorker, Wake
from tidemill_kit.errors import DependencyUnavailable


class Work:
    """A worker under way, on an evaluator in memory."""

    def __init__(self, *, retry_after_s: float = 30.0) -> None:
        self.evaluator = Evaluator()
        self.wanted = InMemoryWanted(self.evaluator.evaluations)
        self.wake = Wake()
        self.worker = EvaluationWorker(
            wanted=self.wanted, run=self.evaluator.run, wake=self.wake, at_once=2, retry_after_s=retry_after_s
        )

    async def states(self) -> list[State]:
        return [each.state for each in await self.evaluator.all()]

    @property
    def completed(self) -> int:
        return len([each for each in self.evaluator.evaluations.published if "Completed" in type(each).__name__])


@pytest.fixture
async def work() -> AsyncIterator[Work]:
    work = Work()
    await work.evaluator.with_suite()
    running = asyncio.create_task(work.worker.run())
    await eventually(lambda: work.wanted.asked == 1)
    yield work
    running.cancel()
    await asyncio.wait([running])


async def test_a_woken_worker_evaluates_at_once(work: Work) -> None:
    await work.evaluator.by_hand()

    work.wake()

    await eventually(lambda: work.completed == 1)
    assert await work.states() == [State.COMPLETED]


async def test_an_evaluation_that_waits_is_tried_again() -> None:
    work = Work(retry_after_s=0.02)
    await work.evaluator.with_suite()
    await work.evaluator.by_hand()
    work.evaluator.inference.away = DependencyUnavailable("no answer", dependency="inference")
    running = asyncio.create_task(work.worker.run())
    await eventually(lambda: work.wanted.asked > 3)

    work.evaluator.inference.away = None

    await eventually(lambda: work.completed == 1)
    running.cancel()
    await asyncio.wait([running])


async def test_an_evaluation_that_breaks_does_not_end_the_others(work: Work) -> None:
    broken = [cases(1)[0].question]

    async def break_once(question: Question) -> None:
        if question.text in broken:
            broken.remove(question.text)
            raise ZeroDivisionError

    work.evaluator.inference.before = break_once
    await work.evaluator.by_hand()
    await work.evaluator.by_hand()

    work.wake()
    await eventually(lambda: work.completed == 1)
    work.wake()

    await eventually(lambda: work.completed == 2)


async def test_a_store_that_is_away_is_asked_again(work: Work) -> None:
    await work.evaluator.by_hand()
    work.wanted.away = DependencyUnavailable("no answer", dependency="mongodb")
    work.wake()
    await eventually(lambda: work.wanted.asked == 2)

    work.wanted.away = None
    work.wake()

    await eventually(lambda: work.completed == 1)
