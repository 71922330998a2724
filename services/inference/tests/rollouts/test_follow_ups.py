"""What follows an answer: what is let go, and what is recorded."""

import asyncio
from dataclasses import replace

from services.inference.tests.fakes import ADA, ScriptedEngine, question
from services.inference.tests.rollouts.rollout_fakes import RolloutHarness
from tidemill_core.application import Request
from tidemill_inference.generation.domain.outcome import AnswerOutcome
from tidemill_inference.rollouts.follow_ups import DROPPED, FollowUps
from tidemill_testkit.polling import eventually, run_ready_tasks


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
        await run_ready_tasks()

    rollout = await harness.rollout()
    assert len(await harness.outcomes.of_step(ADA.project, rollout.id, 0)) == 5
    assert harness.candidate.runs == 1
    assert DROPPED.labels("shadow")._value.get() - before == 2  # noqa: SLF001 - the metric's own reading
    harness.candidate.gate.set()
    await eventually(lambda: harness.candidate.runs == 3)
    running.cancel()
    await asyncio.wait([running])


async def test_what_waits_of_a_deleted_project_is_let_go_and_the_rest_stays_in_its_order() -> None:
    harness = RolloutHarness(candidate=ScriptedEngine())
    await harness.is_rolling()
    follow_ups = FollowUps(record=harness.note, waiting=5, max_concurrent=1)
    live = [await answered_live(harness, number) for number in range(3)]
    foreign = replace(live[1], inference=replace(live[1].inference, project="globex"))
    for each in (live[0], foreign, live[2]):
        follow_ups.observe(each)

    assert follow_ups.projects == {"acme", "globex"}
    assert await follow_ups.forget("globex") == 2, "an outcome and a shadow"
    assert follow_ups.projects == {"acme"}
    assert await follow_ups.forget("globex") == 0
    running = asyncio.create_task(follow_ups.run(harness.shadow))
    rollout = await harness.rollout()
    await eventually(lambda: harness.candidate.runs == 2)
    running.cancel()
    await asyncio.wait([running])
    assert len(await harness.outcomes.of_step(ADA.project, rollout.id, 0)) == 2
