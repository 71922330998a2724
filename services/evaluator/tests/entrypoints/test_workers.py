import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from services.evaluator.tests.fakes import Evaluator, InMemoryPending, cases, request
from tidemill_evaluator.adapters.evaluation_codec import EvaluationCodec
from tidemill_evaluator.application.change_gates import UpdateGateCommand
from tidemill_evaluator.application.ports import Question
from tidemill_evaluator.domain.errors import EvaluationNotFound
from tidemill_evaluator.domain.evaluation import Evaluation, State
from tidemill_evaluator.entrypoints.workers import Enqueue, EvaluationWorker
from tidemill_kit.core.application import Request
from tidemill_kit.core.errors import DependencyUnavailable
from tidemill_testkit.polling import eventually
from tidemill_testkit.stores import InMemoryAggregates


class Killed(BaseException):
    """As a kill would end the process."""


class KilledWhileQueueing(InMemoryAggregates[Evaluation]):
    """Ends the process before an evaluation is written, or after it."""

    def __init__(self, evaluations: InMemoryAggregates[Evaluation], *, written: bool) -> None:
        super().__init__(codec=EvaluationCodec(), missing=EvaluationNotFound)
        self.evaluations, self.written = evaluations, written

    async def add(self, aggregate: Evaluation, *, request: Request) -> Evaluation:
        if self.written:
            await self.evaluations.add(aggregate, request=request)
        raise Killed


class Work:
    """A worker under way, on an evaluator in memory."""

    def __init__(self, *, retry_after_s: float = 30.0) -> None:
        self.evaluator = Evaluator()
        self.pending = InMemoryPending(self.evaluator.evaluations, self.evaluator.gates)
        self.enqueue = Enqueue()
        self.worker = EvaluationWorker(
            pending=self.pending,
            triggers=self.evaluator.triggers,
            run=self.evaluator.run,
            enqueue=self.enqueue,
            max_concurrent=2,
            retry_after_s=retry_after_s,
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
    await eventually(lambda: work.pending.asked == 1)
    yield work
    running.cancel()
    await asyncio.wait([running])


async def test_a_notified_worker_evaluates_at_once(work: Work) -> None:
    await work.evaluator.by_hand()

    work.enqueue()

    await eventually(lambda: work.completed == 1)
    assert await work.states() == [State.COMPLETED]


@pytest.mark.parametrize("written", [False, True])
async def test_a_deferred_evaluation_is_made_once_though_the_resuming_process_was_killed(
    work: Work, *, written: bool
) -> None:
    evaluator = work.evaluator
    gate = await evaluator.with_gate(paused=True)
    await evaluator.register()
    dying = KilledWhileQueueing(evaluator.evaluations, written=written)
    killed = replace(evaluator.changing_gates, triggers=replace(evaluator.triggers, evaluations=dying))
    gate.paused = False
    with pytest.raises(Killed):
        await killed.update(UpdateGateCommand(gate=gate, fields=frozenset({"paused"}), request=request()))
    assert (await evaluator.gates.get("acme", "gate")).deferred_evaluation is not None

    for polls in (2, 3):
        work.enqueue()
        await eventually(lambda: work.pending.asked == polls)  # noqa: B023 - called before the next round

    await eventually(lambda: work.completed == 1)
    assert await work.states() == [State.COMPLETED]
    assert (await evaluator.gates.get("acme", "gate")).deferred_evaluation is None


async def test_an_evaluation_that_waits_is_tried_again() -> None:
    work = Work(retry_after_s=0.02)
    await work.evaluator.with_suite()
    await work.evaluator.by_hand()
    work.evaluator.inference.away = DependencyUnavailable("no answer", dependency="inference")
    running = asyncio.create_task(work.worker.run())
    await eventually(lambda: work.pending.asked > 3)

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

    work.enqueue()
    await eventually(lambda: work.completed == 1)
    work.enqueue()

    await eventually(lambda: work.completed == 2)


async def test_a_store_that_is_away_is_asked_again(work: Work) -> None:
    await work.evaluator.by_hand()
    work.pending.away = DependencyUnavailable("no answer", dependency="mongodb")
    work.enqueue()
    await eventually(lambda: work.pending.asked == 2)

    work.pending.away = None
    work.enqueue()

    await eventually(lambda: work.completed == 1)
