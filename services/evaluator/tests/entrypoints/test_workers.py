import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from services.evaluator.tests.fakes import Evaluator, InMemoryWanted, cases, request
from tidemill_evaluator.adapters.evaluation_codec import EvaluationCodec
from tidemill_evaluator.application.change_gates import UpdateGateCommand
from tidemill_evaluator.application.ports import Question
from tidemill_evaluator.domain.errors import EvaluationNotFound
from tidemill_evaluator.domain.evaluation import Evaluation, State
from tidemill_evaluator.entrypoints.workers import EvaluationWorker, Wake
from tidemill_kit.application import Request
from tidemill_kit.errors import DependencyUnavailable
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
        self.wanted = InMemoryWanted(self.evaluator.evaluations, self.evaluator.gates)
        self.wake = Wake()
        self.worker = EvaluationWorker(
            wanted=self.wanted,
            react=self.evaluator.react,
            run=self.evaluator.run,
            wake=self.wake,
            at_once=2,
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
    await eventually(lambda: work.wanted.asked == 1)
    yield work
    running.cancel()
    await asyncio.wait([running])


async def test_a_woken_worker_evaluates_at_once(work: Work) -> None:
    await work.evaluator.by_hand()

    work.wake()

    await eventually(lambda: work.completed == 1)
    assert await work.states() == [State.COMPLETED]


@pytest.mark.parametrize("written", [False, True])
async def test_what_a_gate_owes_is_evaluated_once_though_who_let_it_go_on_was_killed(
    work: Work, *, written: bool
) -> None:
    evaluator = work.evaluator
    gate = await evaluator.with_gate(paused=True)
    await evaluator.register()
    dying = KilledWhileQueueing(evaluator.evaluations, written=written)
    killed = replace(evaluator.changing_gates, react=replace(evaluator.react, evaluations=dying))
    gate.paused = False
    with pytest.raises(Killed):
        await killed.update(UpdateGateCommand(gate=gate, fields=frozenset({"paused"}), request=request()))
    assert (await evaluator.gates.get("acme", "gate")).owed is not None

    for looks in (2, 3):
        work.wake()
        await eventually(lambda: work.wanted.asked == looks)  # noqa: B023 - called before the next round

    await eventually(lambda: work.completed == 1)
    assert await work.states() == [State.COMPLETED]
    assert (await evaluator.gates.get("acme", "gate")).owed is None


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
