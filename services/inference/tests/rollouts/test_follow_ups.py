"""What follows an answer: what is let go, and what is recorded."""

import asyncio

from services.inference.tests.fakes import ADA, ScriptedEngine, question
from services.inference.tests.rollouts.rollout_fakes import RolloutHarness
from tidemill_core.application import Request
from tidemill_inference.generation.domain.outcome import AnswerOutcome
from tidemill_inference.rollouts.follow_ups import DROPPED, FollowUps
from tidemill_testkit.polling import eventually


async def answered_live(harness: RolloutHarness, number: int) -> AnswerOutcome:
    await harness.answer.whole(ADA, question(f"What is {number}?"), request=Request(id=f"w{number}", digest="d"))
    return harness.observed.pop()


async def test_shadows_wait_beside_the_answers_and_are_dropped_when_too_many() -> None:
    harness = RolloutHarness(candidate=ScriptedEngine())
    await harness.is_rolling()
    harness.candidate.gate.clear()
    follow_ups = FollowUps(record=harness.note, waiting=2, max_concurrent=1)
    before = DROPPED.labels("shadow")._value.get()  # noqa: SLF001 - the metric's own reading
    running = asyncio.create_task(follow_ups.run(harness.shadow))

    for number in range(5):
        follow_ups.observe(await answered_live(harness, number))
        await asyncio.sleep(0.01)

    rollout = await harness.rollout()
    assert len(await harness.outcomes.of_step(ADA.project, rollout.id, 0)) == 5
    assert harness.candidate.runs == 1
    assert DROPPED.labels("shadow")._value.get() - before == 2  # noqa: SLF001 - the metric's own reading
    harness.candidate.gate.set()
    await eventually(lambda: harness.candidate.runs == 3)
    running.cancel()
    await asyncio.wait([running])
