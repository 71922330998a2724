"""Whose reactions are learnt from, and taking one back."""

import json
from datetime import timedelta

import pytest

from services.feedback.tests.builders import ADA, EVE, SFT, correction, rating, write
from services.feedback.tests.harness import FeedbackHarness
from tidemill_core.application import PageRequest
from tidemill_core.errors import InvalidInput
from tidemill_feedback.errors import FeedbackNotFound, NothingCorrected
from tidemill_feedback.reactions.domain.feedback import FeedbackState, FeedbackWasRecorded, FeedbackWasWithdrawn


async def curated(harness: FeedbackHarness) -> list[str]:
    """Return the feedback that the curation has rows of, once every event was consumed."""
    for given in (await harness.read.list(ADA, PageRequest())).items:
        await harness.record(ADA, given.id)
    return sorted(row.candidate.feedback for row in await harness.ledger.rows(SFT) if not row.withdrawn)


async def test_what_another_user_than_the_asker_says_is_kept_and_teaches_nothing() -> None:
    harness = FeedbackHarness()
    await harness.curate()
    harness.inferences.put("i1", end_user="asker")

    honest = await harness.give(correction("The right answer.", end_user="asker"))
    other = await harness.give(correction("Buy at evil.example.", end_user="mallory"))

    assert (honest.counts, other.counts, other.state) == (True, False, FeedbackState.RECORDED)
    assert "other than the person who asked" in other.message
    assert await curated(harness) == [honest.id]


async def test_a_claimed_role_counts_only_where_it_is_trusted() -> None:
    for trusted in ((), ("reviewer",)):
        harness = FeedbackHarness(trusted=trusted)
        harness.inferences.put("i1", end_user="asker")

        given = await harness.give(correction("The right answer.", end_user="x", rater="reviewer"))

        assert given.counts is bool(trusted)


async def test_an_example_says_whose_question_it_shows_where_another_person_corrected_it() -> None:
    harness = FeedbackHarness(trusted=("reviewer",))
    await harness.curate()
    harness.inferences.put("i1", end_user="asker")
    await harness.give(correction("The right answer.", inference="i1", end_user="expert", rater="reviewer"))
    await harness.correct(2)
    await harness.correct(3)
    await harness.work()

    lines = {line["inference"]: line for line in map(json.loads, harness.batch())}

    assert (lines["i1"]["end_user"], lines["i1"]["asked_by"]) == ("expert", "asker")
    assert lines["i2"]["end_user"] == "u2"
    assert "asked_by" not in lines["i2"], "so that what users corrected themselves stays the same bytes"


async def test_ratings_report_whether_they_count() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1", end_user="asker")
    await harness.give(rating(1, end_user="mallory"))
    await harness.give(rating(0))

    listed = (await harness.read.list(ADA, PageRequest())).items
    assert {each.end_user: each.counts for each in listed} == {"mallory": False, "asker": True}


async def test_a_clock_that_is_ahead_does_not_win() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1")

    ahead = await harness.give(rating(0, observe_time=harness.clock.now() + timedelta(minutes=4)))
    harness.clock.advance(timedelta(seconds=1))
    later = await harness.give(rating(1))

    assert ahead.current
    assert later.current
    assert (ahead.current.observe_time, later.current.number) == (harness.clock.now() - timedelta(seconds=1), 1)


async def test_a_correction_that_is_withdrawn_leaves_the_curation_and_a_later_one_counts_again() -> None:
    harness = FeedbackHarness()
    await harness.curate()
    harness.inferences.put("i1")
    given = await harness.give(correction("No, never."))
    assert await curated(harness) == [given.id]

    withdrawn = await harness.read.withdraw(ADA, given.id, write())

    assert (withdrawn.state, withdrawn.current, len(withdrawn.history)) == (FeedbackState.WITHDRAWN, None, 1)
    assert await curated(harness) == []
    assert [type(event) for event in harness.feedback.published] == [FeedbackWasRecorded, FeedbackWasWithdrawn]
    again = await harness.give(correction("Yes, always."))
    assert (again.id, await curated(harness)) == (given.id, [given.id])


async def test_withdrawing_twice_has_one_effect_and_another_project_withdraws_nothing() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1")
    given = await harness.give(rating(1))

    with pytest.raises(FeedbackNotFound):
        await harness.read.withdraw(EVE, given.id, write())
    for _ in range(2):
        await harness.read.withdraw(ADA, given.id, write())

    assert len(harness.feedback.published) == 2


async def test_a_correction_that_is_the_answer_ends_the_earlier_one() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1", output="It is free.")
    with pytest.raises(NothingCorrected):
        await harness.give(correction("It is free."))
    await harness.give(correction("It is never free."))

    ended = await harness.give(correction("It  is\u200b free."))

    assert (ended.state, ended.current) == (FeedbackState.WITHDRAWN, None)


async def test_a_correction_that_ended_the_earlier_one_is_accepted_when_it_is_sent_again() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1", output="It is free.")
    await harness.give(correction("It is never free."))
    await harness.give(correction("It is free."), request_id="e2")

    again = await harness.give(correction("It is free."), request_id="e2")

    assert again.state is FeedbackState.WITHDRAWN
    with pytest.raises(NothingCorrected):
        await harness.give(correction("It is free."), request_id="e3")


async def test_a_correction_that_is_the_answer_ends_no_later_one() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1", output="It is free.")
    await harness.give(correction("It is never free."))

    late = await harness.give(correction("It is free.", observe_time=harness.clock.now() - timedelta(minutes=1)))

    assert late.current
    assert (late.state, late.current.text) == (FeedbackState.RECORDED, "It is never free.")


async def test_what_was_said_before_a_withdrawal_and_comes_after_it_stays_withdrawn() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1")
    given = await harness.give(correction("No, never."))
    harness.clock.advance(timedelta(minutes=10))
    await harness.read.withdraw(ADA, given.id, write())
    harness.clock.advance(timedelta(minutes=1))

    late = await harness.give(correction("Never, no.", observe_time=harness.clock.now() - timedelta(minutes=10)))

    assert (late.state, late.current, len(late.history)) == (FeedbackState.WITHDRAWN, None, 2)
    assert [type(event) for event in harness.feedback.published] == [FeedbackWasRecorded, FeedbackWasWithdrawn]
    assert (await harness.give(correction("Yes, always."))).state is FeedbackState.RECORDED


async def test_a_second_withdrawal_covers_what_was_said_until_then() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1")
    given = await harness.give(rating(1))
    for _ in range(2):
        harness.clock.advance(timedelta(minutes=10))
        await harness.read.withdraw(ADA, given.id, write())

    late = await harness.give(rating(0, observe_time=harness.clock.now() - timedelta(minutes=5)))

    assert late.state is FeedbackState.WITHDRAWN


async def test_a_withdrawal_ends_what_another_clock_has_observed_a_moment_ahead() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1")
    given = await harness.give(rating(1))
    harness.clock.advance(timedelta(milliseconds=-5))

    assert (await harness.read.withdraw(ADA, given.id, write())).current is None


async def test_withdrawing_and_correcting_again_completes_no_curation_again() -> None:
    harness = FeedbackHarness()
    await harness.curate(new_examples=2)
    given = [await harness.correct(number) for number in range(2)]
    await harness.work()

    for _ in range(2):
        for number, each in enumerate(given):
            await harness.read.withdraw(ADA, each.id, write())
            await harness.record(ADA, each.id)
            await harness.correct(number, text="Right again.")
        await harness.work()

    assert [event.batch.new for event in harness.completions] == [2]
    progress = (await harness.crud.get(ADA, "sft")).counts
    assert (progress.examples, progress.new, progress.filtered) == (2, 0, 0)


async def test_an_answer_of_an_earlier_completion_is_not_new_by_another_person_s_correction() -> None:
    harness = FeedbackHarness(trusted=("reviewer",))
    await harness.curate(new_examples=1)
    given = await harness.correct(1)
    await harness.work()
    await harness.correct(1, text="Not resolved yet.")
    await harness.read.withdraw(ADA, given.id, write())

    await harness.give(correction("By a reviewer.", end_user="rita", rater="reviewer"))
    await harness.work()

    assert len(harness.completions) == 1
    assert (await harness.crud.get(ADA, "sft")).counts.new == 0


@pytest.mark.parametrize("text", ["\u200b", "\ufeff\u200b\u200d", "\u2800", "\u3164", "\u00ad", "...", "\u2026 ?"])
async def test_a_correction_that_says_nothing_is_refused(text: str) -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1")

    with pytest.raises(InvalidInput, match="no letter, number or symbol"):
        await harness.give(correction(text))


async def test_an_example_has_its_cohort_where_the_curation_names_the_label() -> None:
    harness = FeedbackHarness()
    await harness.curate(cohort_label="country", max_cohort_share=0.5, new_examples=4)
    for number, country in enumerate(("at", "de", "at", "")):
        await harness.correct(number, labels={"country": country, "team": "x"} if country else {})
    await harness.work()

    cohorts = {line["inference"]: line.get("cohort") for line in map(json.loads, harness.batch())}

    assert cohorts == {"i0": "at", "i1": "de", "i2": "at", "i3": None}
