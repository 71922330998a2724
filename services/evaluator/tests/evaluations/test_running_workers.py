"""Crashed, paused, concurrent and cancelled workers give one verdict."""

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from services.evaluator.tests.builders import ADA, TUNED, cases, name_of, passage, request, write
from services.evaluator.tests.fakes import InMemoryResults
from services.evaluator.tests.harness import Evaluator, ready
from tidemill_core.application import Request
from tidemill_evaluator.errors import EvaluationNotFound
from tidemill_evaluator.evaluations.domain.comparison import Verdict
from tidemill_evaluator.evaluations.domain.evaluation import (
    Evaluation,
    EvaluationHasCompleted,
    EvaluationHasFailed,
    EvaluationHasStarted,
)
from tidemill_evaluator.evaluations.domain.job import State
from tidemill_evaluator.evaluations.mongo import EVALUATIONS
from tidemill_evaluator.evaluations.ports import CaseName, PartialResult, Question
from tidemill_testkit.stores import InMemoryAggregates


class Killed(BaseException):
    """Simulates a kill of the worker."""


class ResultsOfAKilledWorker(InMemoryResults):
    """Crashes the worker before or after a given number of writes."""

    def __init__(self, *, writes: int, written: bool) -> None:
        super().__init__()
        self.writes, self.written = writes, written

    async def keep(self, project: str, evaluation: str, name: CaseName, kept: PartialResult, *, epoch: int) -> None:
        self.writes -= 1
        if self.writes >= 0 or self.written:
            await super().keep(project, evaluation, name, kept, epoch=epoch)
        if self.writes < 0:
            raise Killed


@pytest.mark.parametrize("writes", range(12))
async def test_a_worker_that_is_killed_anywhere_is_followed_by_one_that_repeats_nothing_kept(writes: int) -> None:
    evaluator = await ready()
    (evaluation,) = await evaluator.all()
    dying = ResultsOfAKilledWorker(writes=writes, written=True)
    with pytest.raises((Killed, BaseExceptionGroup)):
        await evaluator.worker(dying, max_concurrent=1)(name_of(evaluation))
    evaluator.results.stored = dying.stored

    done = await evaluator.finish()

    assert (done.state, done.verdict, done.answered) == (State.COMPLETED, Verdict.PASSED, 6)
    assert max(Counter((each.variant, each.text) for each in evaluator.inference.asked).values()) == 1
    assert [type(event) for event in evaluator.evaluations.published] == [EvaluationHasStarted, EvaluationHasCompleted]


async def test_an_answer_that_was_given_but_not_kept_is_reported_again_and_only_lost_texts_are_asked_anew() -> None:
    evaluator = await ready()
    question = cases(1)[0].question
    evaluator.inference.finds[question] = [passage()]
    (evaluation,) = await evaluator.all()
    for _ in range(2):
        dying = ResultsOfAKilledWorker(writes=0, written=False)
        with pytest.raises((Killed, BaseExceptionGroup)):
            await evaluator.worker(dying, max_concurrent=1)(name_of(evaluation))

    done = await evaluator.finish()

    assert done.verdict is Verdict.PASSED
    asked = Counter((each.variant, each.text) for each in evaluator.inference.asked)
    assert asked.pop(("", question)) == 3
    assert max(asked.values()) == 1
    (candidate,) = [each for each in evaluator.inference.asked if (each.variant, each.text) == (TUNED, question)]
    assert list(candidate.passages) == [passage()]


async def test_a_worker_that_slept_through_its_lease_changes_nothing() -> None:
    evaluator = await ready()
    (evaluation,) = await evaluator.all()
    asleep, enqueue = asyncio.Event(), asyncio.Event()

    async def sleep(question: Question) -> None:
        if question.variant and not asleep.is_set():
            asleep.set()
            await enqueue.wait()

    evaluator.inference.before = sleep
    sleeper = asyncio.create_task(evaluator.run(name_of(evaluation)))
    await asleep.wait()
    evaluator.leases.expire()
    done = await evaluator.finish()
    stored, published = dict(evaluator.results.stored), list(evaluator.evaluations.published)
    enqueue.set()

    assert await sleeper
    assert await evaluator.evaluations.get("acme", evaluation.id) == done
    assert evaluator.results.stored == stored
    assert evaluator.evaluations.published == published


async def test_two_workers_that_both_believe_to_hold_it_come_to_one_verdict() -> None:
    evaluator = await ready(max_concurrent=1)
    (evaluation,) = await evaluator.all()
    asleep = [asyncio.Event(), asyncio.Event()]
    enqueue = [asyncio.Event(), asyncio.Event()]

    async def sleep_in_turn(question: Question) -> None:
        for turn in range(2):
            if question.variant and not asleep[turn].is_set():
                asleep[turn].set()
                await enqueue[turn].wait()
                return

    evaluator.inference.before = sleep_in_turn
    first = asyncio.create_task(evaluator.worker(evaluator.results, max_concurrent=1)(name_of(evaluation)))
    await asleep[0].wait()
    evaluator.leases.expire()
    second = asyncio.create_task(evaluator.worker(evaluator.results, max_concurrent=1)(name_of(evaluation)))
    await asleep[1].wait()
    before = await evaluator.evaluations.get("acme", evaluation.id)
    enqueue[0].set()
    assert await first  # it is lost to it at its next write, while the other still works
    assert await evaluator.evaluations.get("acme", evaluation.id) == before
    enqueue[1].set()

    assert await second
    assert (await evaluator.evaluations.get("acme", evaluation.id)).verdict is Verdict.PASSED
    assert [type(event) for event in evaluator.evaluations.published] == [EvaluationHasStarted, EvaluationHasCompleted]


class KilledWhileQueueing(InMemoryAggregates[Evaluation]):
    """Crashes before or after a write of an evaluation."""

    def __init__(self, evaluations: InMemoryAggregates[Evaluation], *, written: bool) -> None:
        super().__init__(codec=EVALUATIONS, missing=EvaluationNotFound)
        self.evaluations, self.written = evaluations, written

    async def add(self, aggregate: Evaluation, *, request: Request) -> Evaluation:
        if self.written:
            await self.evaluations.add(aggregate, request=request)
        raise Killed


@pytest.mark.parametrize("written", [False, True])
async def test_a_deferred_evaluation_is_made_once_though_the_resuming_process_was_killed(*, written: bool) -> None:
    evaluator = Evaluator()
    await evaluator.with_suite()
    gate = await evaluator.with_gate(paused=True)
    await evaluator.register()
    dying = KilledWhileQueueing(evaluator.evaluations, written=written)
    killed = replace(evaluator.gate_crud, changed=replace(evaluator.triggers, evaluations=dying).gate_changed)
    gate.paused = False
    with pytest.raises(Killed):
        await killed.update(ADA, gate, frozenset({"paused"}), write())
    assert (await evaluator.gates.get("acme", "gate")).deferred_evaluation is not None

    for _ in range(2):
        await evaluator.triggers.start_deferred(ADA, "gate")

    assert [each.state for each in await evaluator.all()] == [State.QUEUED]
    assert (await evaluator.gates.get("acme", "gate")).deferred_evaluation is None


async def test_a_cancelled_evaluation_stops_at_the_next_case_and_stays_cancelled() -> None:
    evaluator = await ready(max_concurrent=1)
    (evaluation,) = await evaluator.all()

    async def cancel(_: Question) -> None:
        if len(evaluator.inference.asked) == 3:
            await evaluator.evaluation_crud.cancel(ADA, evaluation.id, request=request())

    evaluator.inference.before = cancel
    assert await evaluator.run(name_of(evaluation))

    cancelled = await evaluator.evaluations.get("acme", evaluation.id)
    assert (cancelled.state, cancelled.reason) == (State.CANCELLED, "CANCELLED")
    assert len(evaluator.inference.asked) < 12
    assert [type(event) for event in evaluator.evaluations.published] == [EvaluationHasStarted, EvaluationHasFailed]


async def test_nothing_is_stored_of_a_case_whose_evaluation_was_ended_while_it_was_answered() -> None:
    evaluator = await ready(max_concurrent=1)
    (evaluation,) = await evaluator.all()
    before: list[CaseName] = []

    async def withdraw(_: Question) -> None:
        if len(evaluator.inference.asked) == 3:
            now = evaluator.clock.now()
            await evaluator.evaluations.update("acme", evaluation.id, lambda e: e.withdraw(now), request=request())
            before.extend(name for _, _, name in evaluator.results.stored)

    evaluator.inference.before = withdraw
    assert await evaluator.run(name_of(evaluation))

    assert len(before) == 3
    assert [name for _, _, name in evaluator.results.stored] == before
    failed = await evaluator.evaluations.get("acme", evaluation.id)
    assert (failed.state, failed.reason) == (State.FAILED, "DATA_ERASED")


async def test_no_more_cases_than_the_limit_are_asked_at_the_same_time() -> None:
    evaluator = await ready(max_concurrent=2)
    asking, maximum = 0, 0

    async def count(_: Question) -> None:
        nonlocal asking, maximum
        asking += 1
        maximum = max(maximum, asking)
        await asyncio.sleep(0)
        asking -= 1

    evaluator.inference.before = count
    await evaluator.finish()

    assert maximum == 2


async def test_what_is_left_is_estimated_from_the_pace_so_far() -> None:
    evaluator = await ready(max_concurrent=1)
    (evaluation,) = await evaluator.all()
    reported: list[tuple[int, float | None]] = []

    async def poll(_: Question) -> None:
        now = await evaluator.evaluations.get("acme", evaluation.id)
        reported.append((now.answered, now.remaining_s))
        evaluator.pass_time(5)

    evaluator.inference.before = poll
    await evaluator.finish()

    assert reported[0] == (0, None)
    assert reported[4] == (0, 40.0)  # all baselines are asked first
    assert reported[-1] == (5, 5.0)


async def test_a_candidate_is_asked_when_the_baselines_of_its_turn_were_and_no_sooner() -> None:
    evaluator = await ready(max_concurrent=4)

    await evaluator.finish()

    sides = ["candidate" if question.variant == TUNED else "baseline" for question in evaluator.inference.asked]
    assert sides == ["baseline"] * 6 + ["candidate"] * 6
