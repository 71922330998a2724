"""Kills, sleeps and changes while a batch is made: it is completed once, of what counts."""

import json
from datetime import timedelta

import pytest

from services.feedback.tests.changed_rules import change
from services.feedback.tests.fakes import ADA, SFT, FeedbackWorld, Killed, request
from tidemill_feedback.domain.errors import EpochOver
from tidemill_kit.errors import DependencyUnavailable, Internal, PreconditionFailed


async def killed_after_a_batch() -> FeedbackWorld:
    """Return a world whose worker died with a batch written, and not told."""
    world = FeedbackWorld()
    await world.curate()
    for number in range(3):
        await world.correct(number)
    world.batches.dies_after_put = True
    with pytest.raises(Killed):
        await world.work()
    world.batches.dies_after_put = False
    return world


async def test_a_kill_between_the_batch_and_its_event_is_harmless() -> None:
    world = await killed_after_a_batch()
    world.tend = world.new_life()
    await world.work()
    await world.work()

    assert len(world.completions) == 1
    assert world.batches.puts == 2
    assert len(await world.objects.list("tidemill-feedback-exchange")) == 1


async def test_what_came_between_a_kill_and_the_next_life_is_in_the_batch_and_old_afterwards() -> None:
    world = await killed_after_a_batch()
    await world.correct(3)
    await change(world, min_output_chars=15)
    await world.correct(0, text="Long enough to be an example")
    await world.correct(4, text="Long enough to be an example")
    await world.correct(5, text="Long enough to be an example")
    await world.work()

    assert [event.batch.new for event in world.completions] == [3]
    await change(world, min_output_chars=1)
    await world.work()
    assert [event.batch.new for event in world.completions] == [3, 3], "those tagged in vain count as new"
    assert len(world.batch()) == 6


async def test_a_worker_that_slept_through_its_lease_completes_nothing() -> None:
    world = FeedbackWorld()
    curation = await world.curate()
    for number in range(3):
        await world.correct(number)
    await world.curations.update("acme", "sft", lambda each: each.take(9), request=request())

    with pytest.raises(EpochOver):
        await world.tend(curation.ref, epoch=8)

    assert world.completions == []


async def test_while_inference_does_not_answer_nothing_is_lost() -> None:
    world = FeedbackWorld()
    await world.curate()
    for number in range(3):
        await world.correct(number)
    world.inferences.failure = DependencyUnavailable("down", dependency="inference")
    with pytest.raises(DependencyUnavailable):
        await world.work()

    world.inferences.failure = None
    await world.work()

    assert len(world.completions) == 1


async def test_an_answer_that_was_not_recorded_makes_no_example_and_holds_up_no_other() -> None:
    world = FeedbackWorld()
    await world.curate()
    world.inferences.no_prompt["i0"] = PreconditionFailed("not recorded in full")
    world.inferences.no_prompt["i1"] = Internal("broken")
    for number in range(5):
        await world.correct(number)
    assert await world.work() == timedelta(seconds=1)
    assert len(world.completions) == 1
    for _ in range(5):
        await world.work()

    counts = await world.ledger.counts(SFT)
    assert (counts.examples, counts.filtered, counts.pending) == (3, 2, 0)


async def test_a_correction_that_changes_while_the_batch_is_made_is_looked_at_again() -> None:
    world = FeedbackWorld()
    await world.curate(max_output_chars=50)
    for number in range(3):
        await world.correct(number)
    take = world.ledger.note_counts

    async def meanwhile(*args: object, **options: object) -> None:
        world.ledger.note_counts = take  # type: ignore[method-assign]
        wanted = dict(world.ledger.stored)
        await world.correct(0, text="x" * 51)
        world.ledger.stored = wanted  # its note is not written yet
        await take(*args, **options)  # type: ignore[arg-type]

    world.ledger.note_counts = meanwhile  # type: ignore[method-assign]
    assert await world.work() == timedelta(seconds=1)
    await world.work()

    assert world.completions == []
    assert (await world.ledger.counts(SFT)).filtered == 1


async def test_a_correction_that_is_withdrawn_while_the_batch_is_made_is_in_none() -> None:
    world = FeedbackWorld()
    await world.curate()
    given = [await world.correct(number) for number in range(4)]
    take = world.ledger.note_counts

    async def meanwhile(*args: object, **options: object) -> None:
        world.ledger.note_counts = take  # type: ignore[method-assign]
        await world.withdraw(ADA, given[0].id, request=request())  # its event is not heard yet
        await take(*args, **options)  # type: ignore[arg-type]

    world.ledger.note_counts = meanwhile  # type: ignore[method-assign]
    await world.work()
    await world.work()

    assert [event.batch.examples for event in world.completions] == [3]
    assert given[0].id not in {row.wanted.feedback for row in await world.ledger.rows(SFT)}


async def test_a_rule_that_changes_while_the_batch_is_written_counts_for_it() -> None:
    world = FeedbackWorld()
    await world.curate(new_examples=2)
    for number in range(3):
        await world.correct(number, end_user="eager")
    await world.correct(3)
    world.batches.meanwhile = lambda: change(world, per_user_at_most=1, dataset="another")
    assert await world.work() == timedelta(seconds=1)
    assert world.completions == []

    await world.work()

    [completed] = world.completions
    assert completed.dataset == "another"
    assert sorted(json.loads(line)["end_user"] for line in world.batch()) == ["eager", "u3"]


async def test_a_curation_that_is_paused_while_the_batch_is_written_does_not_complete() -> None:
    world = FeedbackWorld()
    await world.curate()
    for number in range(3):
        await world.correct(number)
    world.batches.meanwhile = lambda: change(world, paused=True)

    await world.work()
    await world.work()

    assert world.completions == []
