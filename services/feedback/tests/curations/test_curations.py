"""From corrections to batches."""

import asyncio
import json
import threading
from collections.abc import Sequence
from datetime import timedelta

import pytest

from services.feedback.tests.builders import ADA, EVE, SFT, correction, rating
from services.feedback.tests.changed_rules import change, example_id
from services.feedback.tests.harness import FeedbackHarness
from tidemill_feedback.curations.domain.counting import Chosen, choose
from tidemill_feedback.curations.domain.filters import Filters
from tidemill_feedback.curations.domain.ledger import CandidateExample, CurationRef, Row


async def test_a_batch_holds_the_examples_in_the_order_of_their_ids() -> None:
    harness = FeedbackHarness()
    await harness.curate()
    given = [await harness.correct(number) for number in range(3)]
    await harness.work()

    [completed] = harness.completions
    lines = [json.loads(line) for line in harness.batch()]
    assert (completed.dataset, completed.deployment, completed.batch.new) == ("helpdesk_sft", "helpdesk", 3)
    assert completed.batch.object.key.startswith("acme/sft/")
    assert [line["id"] for line in lines] == sorted(example_id(f"i{number}") for number in range(3))
    [line] = [line for line in lines if line["inference"] == "i1"]
    assert line == {
        "id": example_id("i1"),
        "inference": "i1",
        "feedback": given[1].id,
        "end_user": "u1",
        "question": "What is i1?",
        "messages": [
            {"role": "ROLE_SYSTEM", "parts": [{"text": "Answer."}]},
            {"role": "ROLE_USER", "parts": [{"text": "[1] Text.\nWhat is i1?"}]},
        ],
        "output": {"role": "ROLE_ASSISTANT", "parts": [{"text": "Right answer 1"}]},
        "passages": [{"id": "1", "document": "d1", "version": 2, "end": 9, "source": "cms", "key": "kb/1"}],
        "observe_time": "2026-01-01T12:00:02Z",
        "change_time": "2026-01-01T12:00:02Z",
        "earlier": [
            {"role": "ROLE_USER", "parts": [{"text": "Hello"}]},
            {"role": "ROLE_ASSISTANT", "parts": [{"text": "Hello, what is it?"}]},
        ],
        "variables": {"a.b": ["$c", 1.0]},
        "principals": ["staff"],
    }


async def test_nothing_is_complete_before_there_are_enough_and_progress_says_so() -> None:
    harness = FeedbackHarness()
    await harness.curate()
    await harness.correct(1)
    await harness.correct(2)
    await harness.give(rating(1, inference="i1"))
    await harness.work()

    overview = await harness.crud.get(ADA, "sft")
    assert harness.completions == []
    assert (overview.counts.new, overview.counts.examples, overview.counts.filtered) == (2, 2, 0)
    assert overview.curation.waits_for(overview.counts) == "2 of 3 new examples"


async def test_the_next_batch_holds_old_and_new_and_corrected_corrections_in_their_latest_words() -> None:
    harness = FeedbackHarness()
    await harness.curate()
    for number in range(3):
        await harness.correct(number)
    await harness.work()
    await harness.correct(0, text="Better still")
    for number in range(3, 5):
        await harness.correct(number)
    await harness.work()
    assert len(harness.completions) == 1
    assert (await harness.ledger.tally(SFT)).counts.new == 2

    await harness.correct(5)
    await harness.work()

    assert [event.batch.new for event in harness.completions] == [3, 3]
    texts = [json.loads(line)["output"]["parts"][0]["text"] for line in harness.batch()]
    assert len(texts) == 6
    assert "Better still" in texts
    assert "Right answer 0" not in texts
    assert sorted(harness.inferences.asked) == [f"i{number}" for number in range(6)]


async def test_corrections_from_before_the_curation_count_too() -> None:
    harness = FeedbackHarness()
    for number in range(3):
        await harness.correct(number)
    await harness.curate()
    await harness.work()

    assert len(harness.completions) == 1


async def test_a_record_that_was_lost_in_a_crash_is_found_by_the_next_process() -> None:
    harness = FeedbackHarness()
    await harness.curate()
    await harness.work()
    for number in range(3):
        await harness.correct(number)
    await harness.ledger.drop(SFT)
    await harness.work()
    assert harness.completions == []

    harness.reconcile = harness.new_incarnation()
    await harness.work()

    assert len(harness.completions) == 1


async def test_one_user_cannot_steer_the_model() -> None:
    harness = FeedbackHarness()
    await harness.curate(per_user_at_most=2, new_examples=4)
    for number in range(10):
        await harness.correct(number, end_user="eager")
    await harness.correct(10)
    await harness.work()
    counts = (await harness.ledger.tally(SFT)).counts
    assert (counts.new, counts.filtered) == (3, 8)

    await harness.correct(11)
    await harness.work()

    users = [json.loads(line)["end_user"] for line in harness.batch()]
    assert sorted(users) == ["eager", "eager", "u10", "u11"]


async def test_too_short_and_too_long_corrections_do_not_count() -> None:
    harness = FeedbackHarness()
    await harness.curate(min_output_chars=5, max_output_chars=10)
    for number, text in enumerate(("abcd", "abcde", "abcdefghij", "abcdefghijk")):
        await harness.correct(number, text=text)
    await harness.work()

    counts = (await harness.ledger.tally(SFT)).counts
    assert (counts.examples, counts.filtered) == (2, 2)


async def test_what_was_corrected_while_the_rule_named_another_deployment_counts_when_it_is_back() -> None:
    harness = FeedbackHarness()
    await harness.curate()
    await harness.correct(1)
    await harness.work()
    await change(harness, deployment="sales")
    await harness.correct(2)
    await change(harness, deployment="helpdesk")

    await harness.work()

    assert (await harness.ledger.tally(SFT)).counts.examples == 2


async def test_the_event_loop_goes_on_while_what_counts_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen_from, checked = threading.Event(), threading.Event()

    def choose_slowly(rows: Sequence[Row], filters: Filters, *, completions: int, at_most: int) -> Chosen:
        chosen_from.set()
        assert checked.wait(10)
        return choose(rows, filters, completions=completions, at_most=at_most)

    async def poll() -> None:
        assert await asyncio.to_thread(chosen_from.wait, 10)
        checked.set()

    monkeypatch.setattr("tidemill_feedback.curations.reconcile_curation.choose", choose_slowly)
    harness = FeedbackHarness()
    await harness.curate()
    await asyncio.gather(harness.work(), poll())


async def test_answers_of_other_deployments_and_projects_do_not_count() -> None:
    harness = FeedbackHarness()
    await harness.curate(new_examples=1)
    harness.inferences.put("i1", deployment="sales")
    harness.inferences.put("i2", project="other")
    await harness.give(correction("Right.", inference="i1"))
    await harness.give(correction("Right.", inference="i2"), caller=EVE)
    await harness.work()

    assert harness.completions == []


async def test_of_several_corrections_of_one_answer_the_reviewer_s_counts() -> None:
    harness = FeedbackHarness(trusted=["reviewer"])
    await harness.curate(new_examples=1)
    await harness.correct(1, text="By the one who asked")
    await harness.give(correction("By a reviewer", end_user="u9", rater="reviewer"))
    await harness.correct(1, text="By the one who asked, again")
    await harness.work()

    [line] = harness.batch()
    assert json.loads(line)["output"]["parts"][0]["text"] == "By a reviewer"


async def test_after_a_while_fewer_are_enough_if_there_are_enough_in_all() -> None:
    harness = FeedbackHarness()
    await harness.curate(new_examples=100, at_latest_every=timedelta(days=7), at_least=2)
    await harness.correct(1)
    await harness.work()
    harness.clock.advance(timedelta(days=8))
    assert await harness.ledger.pending_curations(harness.clock.now()) == [], "one is not enough"
    assert await harness.work() is None
    assert harness.completions == []

    await harness.correct(2)
    await harness.work()
    assert [event.batch.new for event in harness.completions] == [2]

    harness.clock.advance(timedelta(days=8))
    await harness.work()
    assert len(harness.completions) == 1, "nothing is new"


async def test_a_curation_that_is_due_is_found_by_every_replica_and_completes() -> None:
    harness = FeedbackHarness()
    await harness.curate(new_examples=100, at_latest_every=timedelta(days=7), at_least=1)
    await harness.correct(1)
    await harness.work()
    assert await harness.ledger.pending_curations(harness.clock.now()) == []

    harness.clock.advance(timedelta(days=8))
    assert await harness.ledger.pending_curations(harness.clock.now()) == [SFT]
    harness.reconcile = harness.new_incarnation()
    await harness.work()

    assert [event.batch.new for event in harness.completions] == [1]
    assert await harness.ledger.pending_curations(harness.clock.now()) == []


async def test_within_a_burst_only_what_came_is_read_and_the_counts_are_exact_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tidemill_feedback.curations.reconcile_curation._LONG_S", 0.0)
    monkeypatch.setattr("tidemill_feedback.curations.reconcile_curation._FEW_ROWS", 2)
    monkeypatch.setattr("tidemill_feedback.curations.reconcile_curation._RESTS", 10**9)
    harness = FeedbackHarness()
    await harness.curate(new_examples=100, per_user_at_most=3)
    for number in range(3):
        await harness.correct(number, end_user="u1")
    await harness.work()
    harness.ledger.checked_refs.clear()

    for number in range(3, 6):
        await harness.correct(number, end_user="u1")
        assert await harness.work(), "it asks to be called again"
    assert (harness.ledger.checked_refs, (await harness.ledger.tally(SFT)).counts.new) == ([], 6)
    assert await harness.ledger.pending_curations(harness.clock.now()) == [SFT]

    harness.reconcile = harness.new_incarnation()
    await harness.work()
    assert (len(harness.ledger.checked_refs), (await harness.ledger.tally(SFT)).counts.new) == (1, 3)


async def test_a_paused_curation_counts_on_and_completes_when_it_may() -> None:
    harness = FeedbackHarness()
    await harness.curate(paused=True)
    for number in range(3):
        await harness.correct(number)
    await harness.work()
    overview = await harness.crud.get(ADA, "sft")
    assert harness.completions == []
    assert overview.counts.new == 3
    assert overview.curation.waits_for(overview.counts) == "paused: resume it"

    await change(harness, paused=False)
    assert harness.enqueued[-1] == SFT
    await harness.work()

    assert len(harness.completions) == 1


@pytest.mark.parametrize("bound", [{"at_most": 3}, {"batch_bytes": 2700}])
async def test_a_batch_has_no_more_than_others_take_and_progress_reports_what_stayed_out(bound: dict[str, int]) -> None:
    harness = FeedbackHarness(**bound)  # type: ignore[arg-type]  # names of fields
    await harness.curate(paused=True)
    for number in range(5):
        await harness.correct(number)
    await change(harness, paused=False)
    await harness.work()

    [completed] = harness.completions
    assert sorted(json.loads(line)["inference"] for line in harness.batch()) == ["i2", "i3", "i4"]
    assert (completed.batch.examples, completed.batch.new) == (3, 3)
    assert len("".join(f"{line}\n" for line in harness.batch()).encode()) == completed.batch.object.size
    overview = await harness.crud.get(ADA, "sft")
    assert overview.curation.waits_for(overview.counts).endswith("; 2 older examples did not fit into the last batch")

    for number in range(5, 8):
        await harness.correct(number)
    await harness.work()
    assert sorted(json.loads(line)["inference"] for line in harness.batch()) == ["i5", "i6", "i7"]
    assert len(harness.completions) == 2


async def test_nothing_is_checked_where_nothing_changed_not_even_in_the_next_process() -> None:
    harness = FeedbackHarness()
    await harness.curate(new_examples=100)
    await harness.correct(1)
    await harness.work()
    checked = len(harness.ledger.checked_refs)
    assert checked == 1

    for _ in range(3):
        await harness.work()
    assert len(harness.ledger.checked_refs) == checked
    await harness.correct(2)
    assert await harness.ledger.pending_curations(harness.clock.now()) == [SFT]
    await harness.work()
    assert len(harness.ledger.checked_refs) == checked + 1
    assert await harness.ledger.pending_curations(harness.clock.now()) == []


async def test_of_very_many_corrections_all_are_checked_only_where_it_may_be_time_to_complete(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tidemill_feedback.curations.reconcile_curation._LONG_S", 3600.0)  # on a busy machine as well
    harness = FeedbackHarness(exact_rows=2)
    await harness.curate(new_examples=6, per_user_at_most=1, max_output_chars=30)
    for number in range(3):
        await harness.correct(number)
    await harness.work()
    harness.ledger.checked_refs.clear()

    await harness.correct(3, text="too long " * 10)
    await harness.correct(4)
    await harness.work()
    counts = (await harness.ledger.tally(SFT)).counts
    assert (counts.new, counts.filtered, counts.pending, harness.ledger.checked_refs) == (4, 1, 0, [])

    await harness.correct(5, end_user="u4")
    await harness.correct(6, end_user="u4")
    await harness.work()
    assert ((await harness.ledger.tally(SFT)).counts.new, len(harness.ledger.checked_refs)) == (4, 1)
    await harness.correct(7)
    await harness.correct(8)
    await harness.work()

    assert [event.batch.examples for event in harness.completions] == [6]


async def test_corrections_that_were_listed_are_not_listed_again_by_the_next_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tidemill_feedback.curations.reconcile_curation._BATCH_SIZE", 2)
    harness = FeedbackHarness()
    for number in range(5):
        await harness.correct(number)
    await harness.curate(new_examples=100)
    await harness.work()
    candidate: list[str] = []
    upsert_correction = harness.ledger.upsert_correction

    async def upserting(ref: CurationRef, each: CandidateExample) -> bool:
        candidate.append(each.inference)
        return await upsert_correction(ref, each)

    monkeypatch.setattr(harness.ledger, "upsert_correction", upserting)
    harness.reconcile = harness.new_incarnation()
    await harness.work()

    assert candidate == ["i4"]
