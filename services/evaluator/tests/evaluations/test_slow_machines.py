"""An engine whose latency grows with its concurrency."""

import asyncio
import heapq
from dataclasses import dataclass, field

import pytest

from services.evaluator.tests.builders import DEADLINE_S, TUNED
from services.evaluator.tests.harness import HELD_OUT, TRUTH, Evaluator
from tidemill_core.errors import DeadlineExceeded, DependencyUnavailable, RateLimited, TidemillError
from tidemill_evaluator.evaluations.domain.comparison import Evidence, Latencies, Verdict
from tidemill_evaluator.evaluations.domain.job import State
from tidemill_evaluator.evaluations.ports import Question
from tidemill_evaluator.gates.domain.gate import Requirement


@dataclass(slots=True)
class SlowEngine:
    """Answers after a simulated time that grows with concurrency; late answers fail."""

    evaluator: Evaluator
    each_s: dict[str, float]
    """Variant -> seconds of one answer, multiplied by the concurrency."""
    error: TidemillError = field(default_factory=lambda: DeadlineExceeded("too late"))
    under_way: int = 0
    maximum: int = 0
    late: int = 0
    _due: list[tuple[float, int, asyncio.Event]] = field(default_factory=list)
    _number: int = 0

    async def __call__(self, question: Question) -> None:
        self.under_way += 1
        self.maximum = max(self.maximum, self.under_way)
        try:
            await self._pass(min(DEADLINE_S, took_s := self.under_way * self.each_s[question.variant]))
            if took_s > DEADLINE_S:
                self.late += 1
                raise self.error
        finally:
            self.under_way -= 1

    async def _pass(self, seconds: float) -> None:
        self._number += 1
        now = self.evaluator.clock.now().timestamp()
        mine = (now + seconds, self._number, asyncio.Event())
        heapq.heappush(self._due, mine)
        for _ in range(20):  # let all pending questions start
            await asyncio.sleep(0)
        while not mine[2].is_set():
            until, _, event = heapq.heappop(self._due)
            self.evaluator.pass_time(max(0.0, until - self.evaluator.clock.now().timestamp()))
            event.set()
            await asyncio.sleep(0)


async def asked_of(
    each_s: dict[str, float], *, count: int = 30, max_concurrent: int = 16
) -> tuple[Evaluator, SlowEngine]:
    evaluator = Evaluator(max_concurrent=max_concurrent)
    await evaluator.with_suite(count=count)
    await evaluator.with_held_out(count)
    await evaluator.with_gate(HELD_OUT, TRUTH)
    evaluator.candidate_is_right(count)
    evaluator.candidate_is_right(count, prefix="held out: ")
    engine = SlowEngine(evaluator, each_s)
    evaluator.inference.before = engine
    await evaluator.register()
    return evaluator, engine


async def test_a_quick_engine_is_asked_as_much_at_once_as_is_allowed() -> None:
    evaluator, engine = await asked_of({"": 0.1, TUNED: 0.1})

    done = await evaluator.finish()

    assert (done.verdict, engine.late) == (Verdict.PASSED, 0)
    assert engine.maximum >= 15  # of 16: a place may be held by a candidate whose baseline is still asked


@pytest.mark.parametrize(
    ("alone_s", "error"),
    [
        (6.0, DeadlineExceeded("not complete in time")),
        (14.0, DependencyUnavailable("did not answer in time", dependency="model lora@1")),
        (25.0, DependencyUnavailable("did not answer in time", dependency="rag")),
        (45.0, DeadlineExceeded("not complete in time")),
        (45.0, DependencyUnavailable("did not answer in time", dependency="rag")),
    ],
)
async def test_on_a_slow_machine_fewer_are_asked_at_once_and_none_fails(alone_s: float, error: TidemillError) -> None:
    evaluator, engine = await asked_of({"": alone_s, TUNED: alone_s})
    engine.error = error

    done = await evaluator.finish()

    assert (done.state, done.verdict) == (State.COMPLETED, Verdict.PASSED)
    assert {(each.cases, each.unanswered) for each in done.comparisons} == {(30, 0)}
    assert engine.late < 60


async def test_a_side_that_is_slower_than_the_other_fails_nothing_and_is_shown_as_slower() -> None:
    evaluator, _ = await asked_of({"": 5.0, TUNED: 20.0})

    done = await evaluator.finish()

    assert done.verdict is Verdict.PASSED
    assert {each.candidate_failures + each.unanswered for each in done.comparisons} == {0}


async def test_a_machine_that_is_too_slow_for_the_deadline_comes_to_no_verdict_and_blames_no_side() -> None:
    evaluator, _ = await asked_of({"": 20.0, TUNED: 61.0}, count=10)

    done = await evaluator.finish()

    assert (done.state, done.reason) == (State.FAILED, "TOO_FEW_ANSWERS")
    assert "(5 missed the deadline, 0 failed by the baseline, 0 by the candidate)" in done.message


async def test_an_overloaded_server_is_asked_less_and_no_side_fails() -> None:
    evaluator, engine = await asked_of({"": 0.1, TUNED: 0.1})
    capacity, refused = 3, RateLimited("slowly", retry_after_s=0.0)

    async def refuse(question: Question) -> None:
        if engine.under_way >= capacity:
            raise refused
        await engine(question)

    evaluator.inference.before = refuse
    while (done := await evaluator.finish()).state is State.RUNNING:
        assert done.message == "waits for inference: slowly"

    assert done.verdict is Verdict.PASSED
    assert {each.unanswered for each in done.comparisons} == {0}


async def test_latencies_are_shown_of_both_sides() -> None:
    evaluator, _ = await asked_of({"": 0.1, TUNED: 0.1})
    evaluator.inference.takes_s = {"": 2.0, TUNED: 3.0}

    done = await evaluator.finish()

    assert done.latencies == Latencies(baseline_s=2.0, candidate_s=3.0)


@pytest.mark.parametrize(("engine_s", "at_once"), [(0.1, 4), (20.0, 1)])
async def test_times_are_compared_of_answers_at_one_concurrency(engine_s: float, at_once: int) -> None:
    evaluator = Evaluator(max_concurrent=16, evidence=Evidence(min_questions=2, max_unanswered=0.1))
    await evaluator.with_suite(count=60)
    await evaluator.with_gate(Requirement(suite="truth", metric="latency_s", gain_above=0.5))
    engine = SlowEngine(evaluator, {"": engine_s, TUNED: engine_s})
    evaluator.inference.before = engine
    evaluator.inference.takes_s = {"": 3.0, TUNED: 2.0}
    await evaluator.register()

    done = await evaluator.finish()

    (latency,) = [each for each in done.comparisons if each.required]
    assert (latency.note, done.verdict) == ("", Verdict.PASSED)
    assert (latency.baseline, latency.candidate) == (3.0, 2.0)
    assert latency.cases >= 60 - 2 * (4 - at_once)
    assert engine.maximum == 4
