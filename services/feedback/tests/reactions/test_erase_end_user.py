"""Later batches do not contain an erased end user."""

import json

import pytest

from services.feedback.tests.builders import ADA, EVE, correction, event, rating, request, write
from services.feedback.tests.harness import FeedbackHarness
from tidemill_core.application import Caller, PageRequest
from tidemill_core.errors import DependencyUnavailable, InvalidInput
from tidemill_feedback.errors import FeedbackNotFound
from tidemill_feedback.reactions.domain.feedback import FeedbackState
from tidemill_feedback.reactions.erase_end_user import Erased


async def users(harness: FeedbackHarness) -> list[str]:
    return sorted(json.loads(line)["end_user"] for line in harness.batch())


async def test_the_next_batch_holds_nothing_that_an_erased_person_said_or_asked() -> None:
    harness = FeedbackHarness(trusted=["reviewer"])
    await harness.curate()
    mine = await harness.correct(1)
    of_reviewer = await harness.give(correction("By a reviewer", end_user="reviewer", rater="reviewer"))
    for number in (2, 3):
        await harness.correct(number)
    await harness.work()
    assert await users(harness) == ["reviewer", "u2", "u3"]

    assert (await harness.erase(ADA, "u1", write(validate_only=True))).reactions == 2
    assert (await harness.erase(EVE, "u1", write())).reactions == 0
    assert (await harness.erase(ADA, "u1", write())).reactions == 2
    assert (await harness.erase(ADA, "u1", write())).reactions == 0

    for each in (mine, of_reviewer):
        with pytest.raises(FeedbackNotFound):
            await harness.read.get(ADA, each.id)
    kept = await harness.feedback.list("acme", page=PageRequest(), where={"asked_by": "u1"}, show_deleted=True)
    assert [(each.current, each.history, each.labels) for each in kept.items] == [(None, (), {})] * 2
    assert ("acme", "i1") not in harness.prompts.stored
    harness.reconcile = harness.new_incarnation()
    for number in (4, 5, 6):
        await harness.correct(number)
    await harness.work()
    assert await users(harness) == ["u2", "u3", "u4", "u5", "u6"]
    assert harness.inferences.asked.count("i1") == 1


async def test_what_inference_keeps_of_their_questions_is_erased_too_and_last() -> None:
    harness = FeedbackHarness()
    for number in (1, 2):
        harness.inferences.put(f"i{number}", end_user="u1")
    harness.inferences.put("i3", end_user="u2")
    said = await harness.correct(3, end_user="u1")

    assert (await harness.erase(ADA, "u1", write(validate_only=True))).inferences == 2
    harness.inferences.failure = DependencyUnavailable("down", dependency="inference")
    with pytest.raises(DependencyUnavailable):
        await harness.erase(ADA, "u1", write())
    with pytest.raises(FeedbackNotFound):
        await harness.read.get(ADA, said.id)
    harness.inferences.failure = None

    assert await harness.erase(ADA, "u1", write()) == Erased(reactions=0, inferences=2)
    assert harness.inferences.erased == [("acme", "i1"), ("acme", "i2")]


async def test_who_is_erased_while_a_batch_is_written_is_not_in_it() -> None:
    harness = FeedbackHarness()
    await harness.curate()
    for number in range(4):
        await harness.correct(number)
    harness.batches.meanwhile = lambda: harness.erase(ADA, "u1", write())
    await harness.work()
    assert harness.completions == []

    await harness.work()

    assert await users(harness) == ["u0", "u2", "u3"]


async def erased_while_fetched(user: str) -> FeedbackHarness:
    """Return a harness in which a prompt of two people was fetched while one of them was erased."""
    harness = FeedbackHarness()
    await harness.curate(new_examples=1)
    await harness.correct(1)
    await harness.correct(1, text="By a reviewer", end_user="reviewer")
    harness.inferences.meanwhile = lambda: harness.erase(ADA, user, write())
    for _ in range(2):
        await harness.work()
    return harness


async def test_a_prompt_that_was_being_fetched_for_who_is_erased_is_not_kept() -> None:
    harness = await erased_while_fetched("u1")

    assert harness.inferences.asked == ["i1"]
    assert harness.prompts.stored == {}
    assert harness.completions == []


async def test_a_prompt_that_was_being_fetched_stays_for_others_that_request_it() -> None:
    harness = await erased_while_fetched("reviewer")

    assert await users(harness) == ["u1"]
    assert harness.inferences.asked == ["i1"]


@pytest.mark.parametrize("resolved", [True, False])
async def test_a_note_that_comes_after_the_erasure_holds_up_no_batch(*, resolved: bool) -> None:
    harness = FeedbackHarness()
    await harness.curate()
    await harness.correct(0)
    if resolved:
        await harness.work()
    rows = dict(harness.ledger.stored)
    await harness.erase(ADA, "u0", write())
    harness.ledger.stored = rows
    for number in (1, 2, 3):
        await harness.correct(number)
    for _ in range(3):
        await harness.work()

    assert await users(harness) == ["u1", "u2", "u3"]
    assert ("acme", "i0") not in harness.prompts.stored


async def test_what_waits_for_its_inference_goes_too() -> None:
    harness = FeedbackHarness()
    for number, user in enumerate(("u1", "u2")):
        said = correction("Right.", end_user=user)
        await harness.take(ADA, said, request=request(f"r{number}"), event=event(f"e{number}"))

    await harness.erase(ADA, "u1", write())

    assert [each.reaction.end_user for each in await harness.pending.of("acme", "i1")] == ["u2"]


async def test_what_is_said_after_the_erasure_counts_and_a_repetition_of_what_was_said_before_does_not() -> None:
    harness = FeedbackHarness()
    harness.inferences.put("i1")
    await harness.give(rating(1), request_id="r1")
    await harness.erase(ADA, "u1", write())

    repeated = await harness.give(rating(1), request_id="r1")
    assert (repeated.state, repeated.current) == (FeedbackState.IGNORED, None)
    again = await harness.give(rating(0), request_id="r2")

    assert (again.state, again.message, again.history) == (FeedbackState.RECORDED, "", ())
    assert await harness.read.get(ADA, again.id) == again


async def test_a_repeated_request_spares_what_was_said_since() -> None:
    harness = FeedbackHarness()
    await harness.curate(new_examples=1)
    await harness.correct(1)
    await harness.erase(ADA, "u1", write("erase"))
    await harness.correct(1, text="Said since")

    await harness.erase(ADA, "u1", write("erase"))
    await harness.work()

    assert await users(harness) == ["u1"]


async def test_a_prompt_that_went_with_older_reactions_is_asked_for_again_by_what_was_said_since() -> None:
    harness = FeedbackHarness()
    await harness.curate(new_examples=2)
    await harness.correct(1)
    await harness.give(rating(1))
    await harness.erase(ADA, "u1", write("erase"))
    await harness.correct(1, text="Said since")
    await harness.work()
    await harness.erase(ADA, "u1", write("erase"))
    assert ("acme", "i1") not in harness.prompts.stored

    await harness.correct(2)
    for _ in range(3):
        await harness.work()

    assert await users(harness) == ["u1", "u2"]


async def test_an_empty_name_erases_no_user() -> None:
    harness = FeedbackHarness()

    with pytest.raises(InvalidInput, match="end_user: is empty"):
        await harness.erase(ADA, "", write())


async def test_reviews_of_the_users_questions_are_erased_until_none_is_left() -> None:
    harness = FeedbackHarness()

    await harness.erase(ADA, "u1", write(validate_only=True))
    assert harness.reviews["u1"] == 2
    await harness.erase(ADA, "u1", write())

    assert harness.reviews["u1"] == 0


async def test_reviews_that_come_while_the_users_records_are_erased_are_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = FeedbackHarness()
    erase = harness.inferences.erase

    async def sampled_meanwhile(caller: Caller, end_user: str, *, validate_only: bool) -> int:
        harness.reviews[end_user] = 2
        return await erase(caller, end_user, validate_only=validate_only)

    monkeypatch.setattr(harness.inferences, "erase", sampled_meanwhile)
    await harness.erase(ADA, "u1", write())

    assert harness.reviews["u1"] == 0
