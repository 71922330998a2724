"""Reactions that come ahead of the inference that they are about."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.feedback.tests.builders import ADA, correction, event, rating, request
from services.feedback.tests.harness import FeedbackHarness
from tidemill_core.application import PageRequest, Request
from tidemill_core.errors import DependencyUnavailable, InvalidInput
from tidemill_feedback.errors import InferenceUnknown, NothingCorrected
from tidemill_feedback.reactions import expire_pending
from tidemill_feedback.reactions.domain.feedback import Feedback, FeedbackState
from tidemill_feedback.reactions.domain.reaction import Reaction


async def take(harness: FeedbackHarness, reaction: Reaction, event_id: str = "e1") -> None:
    about = event(event_id, at=harness.clock.now())
    await harness.take(ADA, reaction, request=request(event_id, repr(reaction)), event=about)


async def test_an_event_about_a_known_inference_is_recorded_at_the_time_of_the_event() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1")

    await take(harness, rating(1))
    await take(harness, rating(1))

    [given] = (await harness.read.list(ADA, PageRequest())).items
    assert given.current
    assert (given.times, given.current.observe_time) == (1, harness.clock.now())


async def test_an_event_ahead_of_its_inference_is_pending_until_the_inference_shows_up() -> None:
    harness = FeedbackHarness()
    await take(harness, rating(0.5))
    await take(harness, rating(0.5))

    [shown] = (await harness.read.list(ADA, PageRequest(), inference="i1")).items
    assert (shown.state, shown.inference, shown.message) == (FeedbackState.PENDING, "i1", "waits for its inference")
    assert isinstance(await harness.match(ADA, "i1"), InferenceUnknown)

    harness.inferences.put("i1")
    assert await harness.match(ADA, "i1") is None
    assert await harness.match(ADA, "i1") is None
    await take(harness, rating(0.5))

    [given] = (await harness.read.list(ADA, PageRequest(), inference="i1")).items
    assert (given.state, given.times, given.end_user) == (FeedbackState.RECORDED, 1, "u1")
    assert len(harness.feedback.published) == 1
    assert harness.pending.stored == {}


async def test_an_inference_that_is_being_answered_is_waited_for() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1", completed=False)
    await take(harness, rating(1))
    assert harness.feedback.published == []

    harness.inferences.put("i1")
    await harness.match(ADA, "i1")

    assert len(harness.feedback.published) == 1


async def test_an_inference_that_was_completed_while_the_note_was_written_is_not_missed() -> None:
    harness = FeedbackHarness()
    add = harness.pending.add

    async def slow(waiting: object) -> None:
        harness.inferences.put("i1")
        await harness.match(ADA, "i1")
        await add(waiting)  # type: ignore[arg-type]  # what came in

    harness.pending.add = slow  # type: ignore[method-assign]
    await take(harness, rating(1))

    assert len(harness.feedback.published) == 1


@pytest.mark.parametrize("known", [True, False])
async def test_a_reaction_that_comes_later_than_the_erasure_of_its_user_is_dropped(*, known: bool) -> None:
    harness = FeedbackHarness()
    if known:
        harness.inferences.put("i1", end_user="u-17")
    harness.erased_until = {"u-17": harness.clock.now()}

    await take(harness, correction("The canary.", end_user="u-17"))

    assert (harness.pending.stored, harness.dead_letters.letters) == ({}, [])
    assert (await harness.read.list(ADA, PageRequest())).items == []

    harness.clock.advance(timedelta(seconds=1))
    await take(harness, correction("What came since.", end_user="u-17"), "e2")
    assert len((await harness.read.list(ADA, PageRequest(), inference="i1")).items) == 1


async def test_a_reaction_that_waited_for_an_answer_to_an_erased_user_is_dropped() -> None:
    harness = FeedbackHarness()
    await take(harness, correction("The canary."))
    harness.erased_until = {"u-17": harness.clock.now()}
    harness.inferences.put("i1", end_user="u-17")

    assert await harness.match(ADA, "i1") is None

    assert (harness.pending.stored, harness.dead_letters.letters) == ({}, [])
    assert (await harness.read.list(ADA, PageRequest())).items == []


def erased_while_saving(harness: FeedbackHarness, end_user: str) -> None:
    """Have the erasure of a user begin once a reaction is being saved, so that its search has passed before."""
    save = harness.feedback.upsert

    async def saved(fresh: Feedback, change: Callable[[Feedback], None], *, request: Request) -> Feedback:
        harness.erased_until.setdefault(end_user, harness.clock.now())
        return await save(fresh, change, request=request)

    harness.feedback.upsert = saved  # type: ignore[method-assign]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("end_user", ["u-17", "asker"])
async def test_a_reaction_that_is_saved_while_its_user_is_erased_is_erased_behind_that(
    end_user: str, *, known: bool
) -> None:
    harness = FeedbackHarness()
    if known:
        harness.inferences.put("i1", end_user="asker")
    erased_while_saving(harness, end_user)

    await take(harness, correction("The canary.", end_user="u-17", rater="reviewer"))
    harness.inferences.put("i1", end_user="asker")
    await harness.match(ADA, "i1")

    [tombstone] = harness.feedback.all()
    assert (tombstone.deleted, tombstone.current, tombstone.history) == (True, None, ())
    assert (tombstone.end_user, tombstone.asked_by) == ("", "")
    assert harness.dead_letters.letters == []


async def test_what_a_user_gave_since_stays_where_an_older_reaction_is_erased_behind_their_erasure() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1", end_user="u-17")
    erased_at = harness.clock.now()
    harness.clock.advance(timedelta(seconds=1))
    await take(harness, correction("What came since."))
    old = correction("The canary.", observe_time=erased_at - timedelta(minutes=1))
    saved = await harness.give(old)
    harness.erased_until = {"u-17": erased_at}

    await harness.match.late(ADA, saved, sent_at=erased_at)

    [left] = harness.feedback.all()
    assert left.current
    assert (left.deleted, left.current.text, left.history) == (False, "What came since.", ())


async def test_what_waits_too_long_becomes_a_dead_letter_and_may_be_sent_again() -> None:
    harness = FeedbackHarness()
    await take(harness, rating(1), "e1")
    harness.clock.advance(timedelta(minutes=40))
    await take(harness, rating(0.5), "e2")
    harness.clock.advance(timedelta(minutes=30))

    assert await harness.sweep() == 1
    assert await harness.sweep() == 0

    assert [(each.event.id, reason) for each, reason in harness.dead_letters.letters] == [("e1", "INFERENCE_NOT_FOUND")]
    harness.inferences.put("i1")
    await take(harness, rating(1), "e1")
    await harness.match(ADA, "i1")
    [given] = (await harness.read.list(ADA, PageRequest())).items
    assert given.times == 2


async def test_what_waits_too_long_behind_a_page_of_others_becomes_a_dead_letter_in_the_same_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(expire_pending, "_PAGE", 2)
    harness = FeedbackHarness()
    for number in range(5):
        await take(harness, rating(1, inference=f"i{number}"), f"e{number}")
    harness.clock.advance(timedelta(hours=2))

    assert await harness.sweep() == 5


async def test_the_sweep_asks_for_a_last_time() -> None:
    harness = FeedbackHarness()
    await take(harness, rating(1))
    harness.inferences.put("i1")
    harness.clock.advance(timedelta(hours=2))

    assert await harness.sweep() == 0

    assert harness.dead_letters.letters == []
    assert len(harness.feedback.published) == 1


async def test_a_reviewer_that_only_the_event_names_counts_no_more_for_having_waited_until_the_sweep() -> None:
    harness = FeedbackHarness()
    await take(harness, correction("Buy at evil.example.", end_user="eve", rater="reviewer"))
    harness.inferences.put("i1", end_user="asker")
    harness.clock.advance(timedelta(hours=2))

    await harness.sweep()

    [given] = (await harness.read.list(ADA, PageRequest(), inference="i1")).items
    assert (given.state, given.rater, given.counts) == (FeedbackState.RECORDED, "reviewer", False)


async def test_what_turns_out_to_be_wrong_is_a_dead_letter_and_holds_up_nothing() -> None:
    harness = FeedbackHarness()
    await take(harness, correction("It is wrong."), "e1")
    await take(harness, correction("It is right."), "e2")
    harness.inferences.put("i1", output="It is wrong.")

    await harness.match(ADA, "i1")

    assert [reason for _, reason in harness.dead_letters.letters] == ["NOTHING_CORRECTED"]
    assert len(harness.feedback.published) == 1


async def test_what_can_never_count_is_refused_at_once() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1")

    with pytest.raises(InvalidInput, match="number"):
        await take(harness, rating(2))
    with pytest.raises(InvalidInput, match="number"):
        await take(harness, rating(2, inference="unknown"))
    with pytest.raises(NothingCorrected):
        await take(harness, correction("It is wrong."))
    assert harness.pending.stored == {}


@pytest.mark.parametrize(
    ("at", "reported"),
    [
        (datetime(9999, 1, 1, tzinfo=UTC), r"time: is 9999-01-01T00:00:00\+00:00, which is more than 0:05:00 ahead"),
        (datetime(1970, 1, 1, tzinfo=UTC), "time: is in the year 1970; send a time from 2000 on"),
    ],
)
@pytest.mark.parametrize("inference", ["i1", "unknown"])
async def test_an_event_of_a_time_that_cannot_be_is_refused_as_it_would_count_for_ever(
    at: datetime, reported: str, inference: str
) -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1")

    with pytest.raises(InvalidInput, match=f"^{reported}"):
        await harness.take(ADA, rating(1, inference=inference), request=request(), event=event(at=at))
    assert harness.pending.stored == {}

    said = rating(1, observe_time=harness.clock.now())
    await harness.take(ADA, said, request=request(), event=event(at=at))
    assert len(harness.feedback.published) == 1


async def test_an_event_about_an_answer_that_was_not_live_is_kept_and_counts_for_nothing() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1", live=False)

    await take(harness, correction("Right."))

    [given] = (await harness.read.list(ADA, PageRequest())).items
    assert given.state is FeedbackState.IGNORED
    assert "only live inferences accept feedback" in given.message
    assert harness.feedback.published == []


async def test_while_inference_does_not_answer_the_event_is_not_done() -> None:
    harness = FeedbackHarness()
    harness.inferences.failure = DependencyUnavailable("down", dependency="inference")

    with pytest.raises(DependencyUnavailable):
        await take(harness, rating(1))
    assert harness.pending.stored == {}


async def test_a_crash_between_effect_and_removal_repeats_without_a_second_effect() -> None:
    harness = FeedbackHarness()
    await take(harness, rating(1))
    [waits] = await harness.pending.of("acme", "i1")
    harness.inferences.put("i1")
    await harness.match(ADA, "i1")

    await harness.pending.add(waits)
    await harness.match(ADA, "i1")

    assert len(harness.feedback.published) == 1


async def shown_by_pages(harness: FeedbackHarness, *, size: int) -> list[list[FeedbackState]]:
    pages, token = list[list[FeedbackState]](), ""
    while token or not pages:
        page = await harness.read.list(ADA, PageRequest(size=size, token=token), inference="i1")
        pages.append([each.state for each in page.items])
        token = page.next_token
    return pages


async def test_what_waits_comes_by_pages_too_and_what_is_recorded_after_it() -> None:
    harness = FeedbackHarness()
    for number in range(3):
        await take(harness, rating(1, end_user=f"u{number}"), f"e{number}")
    harness.inferences.put("i1")
    await harness.give(rating(1, end_user="u8"))
    await harness.give(rating(1, end_user="u9"))
    waits, counts = FeedbackState.PENDING, FeedbackState.RECORDED

    assert await shown_by_pages(harness, size=1) == [[waits], [waits], [waits], [counts], [counts]]
    assert await shown_by_pages(harness, size=2) == [[waits, waits], [waits, counts], [counts]]
    assert await shown_by_pages(harness, size=3) == [[waits, waits, waits], [counts, counts]]
    assert await shown_by_pages(harness, size=9) == [[waits, waits, waits, counts, counts]]


async def test_what_waits_and_is_long_comes_by_small_pages() -> None:
    harness = FeedbackHarness()
    for number in range(3):
        about = replace(event(f"e{number}"), body="x" * 300_000)
        await harness.take(ADA, rating(1, end_user=f"u{number}"), request=request(f"e{number}"), event=about)

    assert [len(page) for page in await shown_by_pages(harness, size=9)] == [1, 1, 1]


async def test_a_token_of_what_waits_for_another_inference_is_refused() -> None:
    harness = FeedbackHarness()
    for number in range(2):
        await take(harness, rating(1, end_user=f"u{number}"), f"e{number}")
    first = await harness.read.list(ADA, PageRequest(size=1), inference="i1")

    with pytest.raises(InvalidInput, match="page_token"):
        await harness.read.list(ADA, PageRequest(size=1, token=first.next_token), inference="i2")
