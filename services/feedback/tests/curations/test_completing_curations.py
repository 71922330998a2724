"""Kills, sleeps and changes while a batch is made: it is completed once, of what counts."""

import json
from datetime import timedelta

import pytest

from services.feedback.tests.builders import ADA, BUCKET, SFT, request, write
from services.feedback.tests.changed_rules import change
from services.feedback.tests.fakes import Killed
from services.feedback.tests.harness import FeedbackHarness
from tidemill_core.errors import DependencyUnavailable, Internal, PreconditionFailed
from tidemill_feedback.errors import EpochOver


async def killed_after_a_batch() -> FeedbackHarness:
    """Return a harness whose worker crashed after it stored a batch, before it published."""
    harness = FeedbackHarness()
    await harness.curate()
    for number in range(3):
        await harness.correct(number)
    harness.batches.dies_after_put = True
    with pytest.raises(Killed):
        await harness.work()
    harness.batches.dies_after_put = False
    return harness


async def test_a_kill_between_the_batch_and_its_event_is_harmless() -> None:
    harness = await killed_after_a_batch()
    harness.reconcile = harness.new_incarnation()
    await harness.work()
    await harness.work()

    assert len(harness.completions) == 1
    assert harness.batches.puts == 2
    assert len(await harness.objects.list("tidemill-feedback-exchange")) == 1


async def test_a_batch_that_was_written_at_a_kill_goes_although_its_examples_are_erased_since() -> None:
    harness = await killed_after_a_batch()
    assert len(await harness.objects.list(BUCKET)) == 1
    for end_user in {row.candidate.end_user for row in await harness.ledger.rows(SFT)}:
        await harness.erase(ADA, end_user, write())
    assert await harness.ledger.pending_curations(harness.clock.now()) == [SFT]
    harness.reconcile = harness.new_incarnation()
    await harness.work()

    assert harness.completions == []
    assert await harness.objects.list(BUCKET) == []


async def test_a_batch_that_was_written_at_a_kill_goes_with_its_curation() -> None:
    harness = await killed_after_a_batch()
    await harness.crud.delete(ADA, "sft", write())
    harness.reconcile = harness.new_incarnation()
    await harness.reconcile(ADA, SFT, epoch=9)

    assert await harness.objects.list(BUCKET) == []


async def test_a_batch_that_a_completion_names_stays_whatever_the_ledger_says_of_it() -> None:
    harness = await killed_after_a_batch()
    begun = (await harness.ledger.tally(SFT)).batch
    await harness.work()
    assert (await harness.ledger.tally(SFT)).batch is None
    await harness.ledger.record_batch(SFT, begun, epoch=99)  # as after a kill right behind the completion
    await harness.reconcile(ADA, SFT, epoch=99)

    assert len(await harness.objects.list(BUCKET)) == 1
    assert (await harness.ledger.tally(SFT)).batch is None


async def test_what_came_between_a_kill_and_the_next_process_is_in_the_batch_and_old_afterwards() -> None:
    harness = await killed_after_a_batch()
    await harness.correct(3)
    await change(harness, min_output_chars=15)
    await harness.correct(0, text="Long enough to be an example")
    await harness.correct(4, text="Long enough to be an example")
    await harness.correct(5, text="Long enough to be an example")
    await harness.work()

    assert [event.batch.new for event in harness.completions] == [3]
    await change(harness, min_output_chars=1)
    await harness.work()
    assert [event.batch.new for event in harness.completions] == [3, 3], "those tagged in vain count as new"
    assert len(harness.batch()) == 6


async def test_a_worker_that_slept_through_its_lease_completes_nothing() -> None:
    harness = FeedbackHarness()
    curation = await harness.curate()
    for number in range(3):
        await harness.correct(number)
    await harness.curations.update("acme", "sft", lambda each: each.take(9), request=request())

    with pytest.raises(EpochOver):
        await harness.reconcile(ADA, curation.ref, epoch=8)

    assert harness.completions == []


async def test_while_inference_does_not_answer_nothing_is_lost() -> None:
    harness = FeedbackHarness()
    await harness.curate()
    for number in range(3):
        await harness.correct(number)
    harness.inferences.failure = DependencyUnavailable("down", dependency="inference")
    with pytest.raises(DependencyUnavailable):
        await harness.work()

    harness.inferences.failure = None
    await harness.work()

    assert len(harness.completions) == 1


async def test_an_answer_that_was_not_recorded_makes_no_example_and_holds_up_no_other() -> None:
    harness = FeedbackHarness()
    await harness.curate()
    harness.inferences.no_prompt["i0"] = PreconditionFailed("not recorded in full")
    harness.inferences.no_prompt["i1"] = Internal("broken")
    for number in range(5):
        await harness.correct(number)
    assert await harness.work() == timedelta(seconds=1)
    assert len(harness.completions) == 1
    for _ in range(5):
        await harness.work()

    counts = (await harness.ledger.tally(SFT)).counts
    assert (counts.examples, counts.filtered, counts.pending) == (3, 2, 0)


async def test_a_correction_that_changes_while_the_batch_is_made_is_checked_again() -> None:
    harness = FeedbackHarness()
    await harness.curate(max_output_chars=50)
    for number in range(3):
        await harness.correct(number)
    take = harness.ledger.record_counts

    async def meanwhile(*args: object, **options: object) -> None:
        harness.ledger.record_counts = take  # type: ignore[method-assign]
        candidate = dict(harness.ledger.stored)
        await harness.correct(0, text="x" * 51)
        harness.ledger.stored = candidate  # its note is not written yet
        await take(*args, **options)  # type: ignore[arg-type]

    harness.ledger.record_counts = meanwhile  # type: ignore[method-assign]
    assert await harness.work() == timedelta(seconds=1)
    await harness.work()

    assert harness.completions == []
    assert (await harness.ledger.tally(SFT)).counts.filtered == 1


async def test_a_correction_that_is_withdrawn_while_the_batch_is_made_is_in_none() -> None:
    harness = FeedbackHarness()
    await harness.curate()
    given = [await harness.correct(number) for number in range(4)]
    take = harness.ledger.record_counts

    async def meanwhile(*args: object, **options: object) -> None:
        harness.ledger.record_counts = take  # type: ignore[method-assign]
        await harness.read.withdraw(ADA, given[0].id, write())  # its event is not consumed yet
        await take(*args, **options)  # type: ignore[arg-type]

    harness.ledger.record_counts = meanwhile  # type: ignore[method-assign]
    await harness.work()
    await harness.work()

    assert [event.batch.examples for event in harness.completions] == [3]
    assert given[0].id not in {row.candidate.feedback for row in await harness.ledger.rows(SFT) if not row.withdrawn}


async def test_a_correction_whose_withdrawal_is_consumed_while_the_batch_is_written_is_in_none() -> None:
    harness = FeedbackHarness()
    await harness.curate()
    given = [await harness.correct(number) for number in range(4)]

    async def meanwhile() -> None:
        await harness.read.withdraw(ADA, given[0].id, write())
        await harness.record(ADA, given[0].id)

    harness.batches.meanwhile = meanwhile
    await harness.work()
    await harness.work()

    assert [event.batch.examples for event in harness.completions] == [3]


async def test_a_rule_that_changes_while_the_batch_is_written_counts_for_it() -> None:
    harness = FeedbackHarness()
    await harness.curate(new_examples=2)
    for number in range(3):
        await harness.correct(number, end_user="eager")
    await harness.correct(3)
    harness.batches.meanwhile = lambda: change(harness, per_user_at_most=1, dataset="another")
    assert await harness.work() == timedelta(seconds=1)
    assert harness.completions == []

    await harness.work()

    [completed] = harness.completions
    assert completed.dataset == "another"
    assert sorted(json.loads(line)["end_user"] for line in harness.batch()) == ["eager", "u3"]


async def test_a_curation_that_is_paused_while_the_batch_is_written_does_not_complete() -> None:
    harness = FeedbackHarness()
    await harness.curate()
    for number in range(3):
        await harness.correct(number)
    harness.batches.meanwhile = lambda: change(harness, paused=True)

    await harness.work()
    await harness.work()

    assert harness.completions == []


async def test_a_correction_that_was_given_again_says_when_whatever_its_sender_says() -> None:
    harness = FeedbackHarness()
    await harness.curate(new_examples=1)
    await harness.correct(1, text="Reviewed and good.")
    await harness.work()
    harness.clock.advance(timedelta(days=1))

    await harness.correct(1, text="This is not reviewed yet.")
    await harness.correct(2)
    await harness.work()

    before, after = ([json.loads(line) for line in harness.batch(number)] for number in (0, 1))
    changed = {each["id"]: each["change_time"] for each in after}
    assert before[0]["change_time"] == "2026-01-01T12:00:01Z"
    assert changed[before[0]["id"]] == "2026-01-02T12:00:02Z"
