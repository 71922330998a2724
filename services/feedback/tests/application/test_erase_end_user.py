"""Whoever is erased is in no batch from then on."""

import json

import pytest

from services.feedback.tests.fakes import (
    ADA,
    EVE,
    FeedbackWorld,
    correction,
    event,
    rating,
    request,
)
from tidemill_feedback.application.erase_end_user import Erased
from tidemill_feedback.domain.errors import FeedbackNotFound
from tidemill_feedback.domain.feedback import FeedbackState
from tidemill_kit.application import PageRequest
from tidemill_kit.errors import DependencyUnavailable, InvalidInput


async def users(world: FeedbackWorld) -> list[str]:
    return sorted(json.loads(line)["end_user"] for line in world.batch())


async def test_the_next_batch_holds_nothing_that_an_erased_person_said_or_asked() -> None:
    world = FeedbackWorld(trusted=["reviewer"])
    await world.curate()
    mine = await world.correct(1)
    of_reviewer = await world.give(correction("By a reviewer", end_user="reviewer", rater="reviewer"))
    for number in (2, 3):
        await world.correct(number)
    await world.work()
    assert await users(world) == ["reviewer", "u2", "u3"]

    assert (await world.erase(ADA, "u1", request=request(), validate_only=True)).reactions == 2
    assert (await world.erase(EVE, "u1", request=request())).reactions == 0
    assert (await world.erase(ADA, "u1", request=request())).reactions == 2
    assert (await world.erase(ADA, "u1", request=request())).reactions == 0

    for each in (mine, of_reviewer):
        with pytest.raises(FeedbackNotFound):
            await world.read.get(ADA, each.id)
    kept = await world.feedback.list("acme", page=PageRequest(), where={"asked_by": "u1"}, show_deleted=True)
    assert [(each.current, each.history, each.labels) for each in kept.items] == [(None, (), {})] * 2
    assert ("acme", "i1") not in world.prompts.stored
    world.tend = world.new_life()
    for number in (4, 5, 6):
        await world.correct(number)
    await world.work()
    assert await users(world) == ["u2", "u3", "u4", "u5", "u6"]
    assert world.inferences.asked.count("i1") == 1


async def test_what_inference_keeps_of_their_questions_is_erased_too_and_last() -> None:
    world = FeedbackWorld()
    for number in (1, 2):
        world.inferences.put(f"i{number}", end_user="u1")
    world.inferences.put("i3", end_user="u2")
    said = await world.correct(3, end_user="u1")

    assert (await world.erase(ADA, "u1", request=request(), validate_only=True)).inferences == 2
    world.inferences.failure = DependencyUnavailable("down", dependency="inference")
    with pytest.raises(DependencyUnavailable):
        await world.erase(ADA, "u1", request=request())
    with pytest.raises(FeedbackNotFound):
        await world.read.get(ADA, said.id)
    world.inferences.failure = None

    assert await world.erase(ADA, "u1", request=request()) == Erased(reactions=0, inferences=2)
    assert world.inferences.erased == [("acme", "i1"), ("acme", "i2")]


async def test_who_is_erased_while_a_batch_is_written_is_not_in_it() -> None:
    world = FeedbackWorld()
    await world.curate()
    for number in range(4):
        await world.correct(number)
    world.batches.meanwhile = lambda: world.erase(ADA, "u1", request=request())
    await world.work()
    assert world.completions == []

    await world.work()

    assert await users(world) == ["u0", "u2", "u3"]


async def erased_while_fetched(user: str) -> FeedbackWorld:
    """Return a world in which a prompt that two people want was fetched while one of them was erased."""
    world = FeedbackWorld()
    await world.curate(new_examples=1)
    await world.correct(1)
    await world.correct(1, text="By a reviewer", end_user="reviewer")
    world.inferences.meanwhile = lambda: world.erase(ADA, user, request=request())
    for _ in range(2):
        await world.work()
    return world


async def test_a_prompt_that_was_being_fetched_for_who_is_erased_is_not_kept() -> None:
    world = await erased_while_fetched("u1")

    assert world.inferences.asked == ["i1"]
    assert world.prompts.stored == {}
    assert world.completions == []


async def test_a_prompt_that_was_being_fetched_stays_for_whoever_else_wants_it() -> None:
    world = await erased_while_fetched("reviewer")

    assert await users(world) == ["u1"]
    assert world.inferences.asked == ["i1"]


@pytest.mark.parametrize("resolved", [True, False])
async def test_a_note_that_comes_after_the_erasure_holds_up_no_batch(*, resolved: bool) -> None:
    world = FeedbackWorld()
    await world.curate()
    await world.correct(0)
    if resolved:
        await world.work()
    rows = dict(world.ledger.stored)
    await world.erase(ADA, "u0", request=request())
    world.ledger.stored = rows
    for number in (1, 2, 3):
        await world.correct(number)
    for _ in range(3):
        await world.work()

    assert await users(world) == ["u1", "u2", "u3"]
    assert ("acme", "i0") not in world.prompts.stored


async def test_what_waits_for_its_inference_goes_too() -> None:
    world = FeedbackWorld()
    for number, user in enumerate(("u1", "u2")):
        said = correction("Right.", end_user=user)
        await world.take(ADA, said, request=request(f"r{number}"), event=event(f"e{number}"))

    await world.erase(ADA, "u1", request=request())

    assert [each.reaction.end_user for each in await world.pending.of("acme", "i1")] == ["u2"]


async def test_what_is_said_after_the_erasure_counts_and_a_repetition_of_what_was_said_before_does_not() -> None:
    world = FeedbackWorld()
    world.inferences.put("i1")
    await world.give(rating(1), request_id="r1")
    await world.erase(ADA, "u1", request=request())

    repeated = await world.give(rating(1), request_id="r1")
    assert (repeated.state, repeated.current) == (FeedbackState.IGNORED, None)
    again = await world.give(rating(0), request_id="r2")

    assert (again.state, again.message, again.history) == (FeedbackState.RECORDED, "", ())
    assert await world.read.get(ADA, again.id) == again


async def test_a_repeated_request_spares_what_was_said_since() -> None:
    world = FeedbackWorld()
    await world.curate(new_examples=1)
    await world.correct(1)
    await world.erase(ADA, "u1", request=request("erase"))
    await world.correct(1, text="Said since")

    await world.erase(ADA, "u1", request=request("erase"))
    await world.work()

    assert await users(world) == ["u1"]


async def test_a_prompt_that_went_with_older_reactions_is_asked_for_again_by_what_was_said_since() -> None:
    world = FeedbackWorld()
    await world.curate(new_examples=2)
    await world.correct(1)
    await world.give(rating(1))
    await world.erase(ADA, "u1", request=request("erase"))
    await world.correct(1, text="Said since")
    await world.work()
    await world.erase(ADA, "u1", request=request("erase"))
    assert ("acme", "i1") not in world.prompts.stored

    await world.correct(2)
    for _ in range(3):
        await world.work()

    assert await users(world) == ["u1", "u2"]


async def test_nobody_is_erased_by_an_empty_name() -> None:
    world = FeedbackWorld()

    with pytest.raises(InvalidInput, match="end_user: is empty"):
        await world.erase(ADA, "", request=request())
