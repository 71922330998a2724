"""Who answers, among replicas."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from services.inference.tests.fakes import ADA, AnsweringHarness, ScriptedEngine, asking, question
from tidemill_core.application import Request
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.generation.domain.errors import InferenceNotFound
from tidemill_inference.generation.domain.inference import (
    InferenceWasCompleted,
    State,
)
from tidemill_testkit.polling import eventually


async def test_another_replica_waits_for_the_answer_of_the_one_that_holds_the_lease() -> None:
    harness = AnsweringHarness()
    harness.engine.gate.clear()
    here = asyncio.create_task(harness.answer.whole(ADA, question(), request=asking("r1")))
    await eventually(lambda: harness.engine.runs == 1)

    there = asyncio.create_task(harness.replica().whole(ADA, question(), request=asking("r1")))
    await asyncio.sleep(0)
    harness.engine.gate.set()
    one, other = await asyncio.gather(here, there)

    assert one.output == other.output
    assert harness.engine.runs == 1


async def test_the_lease_of_a_replica_that_died_is_taken_over_and_the_dead_one_changes_nothing() -> None:
    harness = AnsweringHarness()
    slow = ScriptedEngine(says="too late")
    slow.gate.clear()
    harness.engines.engines["smollm2"] = slow
    dead = asyncio.create_task(harness.answer.whole(ADA, question(), request=asking("r1")))
    await eventually(lambda: slow.runs == 1)
    harness.clock.advance(timedelta(seconds=16))
    harness.engines.engines["smollm2"] = harness.engine

    answer = await harness.replica().whole(ADA, question(), request=asking("r1"))
    slow.gate.set()
    with pytest.raises(Exception, match="taken over"):
        await dead

    record = await harness.stored(answer)
    assert record.output == answer.output
    assert record.lease is not None
    assert record.lease.epoch == 2
    assert [type(event) for event in harness.inferences.published] == [InferenceWasCompleted]


async def test_a_long_answer_renews_its_lease() -> None:
    harness = AnsweringHarness()
    replica = harness.replica(ttl=timedelta(seconds=0.06))
    harness.engine.gate.clear()
    running = asyncio.create_task(replica.whole(ADA, question(), request=asking("r1")))
    await eventually(lambda: harness.engine.runs == 1)
    before = await harness.only_record()
    harness.clock.advance(timedelta(seconds=0.05))

    async def renewed() -> bool:
        return (await harness.only_record()).lease != before.lease

    await eventually(renewed)
    harness.engine.gate.set()

    assert (await running).state is State.COMPLETED


async def test_an_answer_of_which_nothing_is_kept_is_not_recorded_behind_the_erasure_of_its_project() -> None:
    harness, deleted = AnsweringHarness(), set[str]()
    replica = harness.replica()
    reservations = replace(replica.reservations, deleted=deleted.__contains__)
    harness.engine.gate.clear()
    asked = question(record=RecordMode.NONE)
    answer = replace(replica, reservations=reservations)
    running = asyncio.create_task(answer.whole(ADA, asked, request=Request.digested("", "")))
    await eventually(lambda: harness.engine.runs == 1)
    deleted.add(ADA.project)
    harness.engine.gate.set()

    with pytest.raises(InferenceNotFound):
        await running
    assert list(harness.inferences.all()) == []
    assert harness.inferences.published == []
