"""What is recorded of a question while kept answers are searched for its own, or its answer begins to be made."""

import asyncio

import pytest

from services.inference.tests.caching.cached import CachedHarness
from services.inference.tests.fakes import ADA, question
from tidemill_core.application import Request
from tidemill_core.errors import DependencyUnavailable
from tidemill_inference.caching.ports import Entry
from tidemill_inference.generation.domain.errors import LeaseLost
from tidemill_inference.generation.domain.inference import Inference, InferenceWasCancelled, State
from tidemill_inference.generation.erase_end_user import EraseEndUser
from tidemill_testkit.polling import eventually

UNNAMED = Request.digested("", "")


async def test_a_person_who_is_erased_while_kept_answers_are_searched_is_not_stored_afterwards() -> None:
    harness = CachedHarness(record_after_s=0)
    searching, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_project: str, _key: str) -> Entry | None:
        searching.set()
        await go_on.wait()
        return None

    harness.cached.get = slow  # type: ignore[assignment,method-assign]
    asking = asyncio.create_task(harness.answer.whole(ADA, question(end_user="ada"), request=UNNAMED))
    await searching.wait()
    await eventually(harness.inferences.all)
    erased = await EraseEndUser(inferences=harness.inferences, clock=harness.clock)(ADA, "ada")
    go_on.set()
    with pytest.raises(LeaseLost):
        await asking

    record = await harness.only_record()
    assert erased.records == 1
    assert (record.state, record.end_user, record.messages, record.output) == (State.CANCELLED, "", (), ())


async def test_a_client_that_leaves_while_its_record_is_saved_leaves_it_cancelled() -> None:
    harness = CachedHarness()
    add, saved = harness.inferences.add, asyncio.Event()

    async def unanswered(record: Inference, *, request: Request) -> Inference:
        stored = await add(record, request=request)
        saved.set()
        await asyncio.Event().wait()
        return stored

    harness.inferences.add = unanswered  # type: ignore[assignment,method-assign]
    asking = asyncio.create_task(harness.answer.whole(ADA, question(), request=UNNAMED))
    await saved.wait()
    harness.inferences.add = add  # type: ignore[method-assign]
    asking.cancel()
    await asyncio.wait({asking})

    assert (await harness.only_record()).state is State.CANCELLED
    assert [type(event) for event in harness.inferences.published] == [InferenceWasCancelled]


async def test_an_end_user_s_question_is_recorded_while_a_kept_answer_is_searched_for_that_takes_long() -> None:
    harness = CachedHarness(record_after_s=0)
    await harness.answer.whole(ADA, question(end_user="bob"), request=Request.digested("", ""))
    add, get, searching = harness.inferences.add, harness.cached.get, asyncio.Event()

    async def after_search(record: Inference, *, request: Request) -> Inference:
        await searching.wait()
        return await add(record, request=request)

    async def searched(project: str, key: str) -> Entry | None:
        searching.set()
        return await get(project, key)

    harness.inferences.add = after_search  # type: ignore[assignment,method-assign]
    harness.cached.get = searched  # type: ignore[method-assign]
    async with asyncio.timeout(5):
        again = await harness.answer.whole(ADA, question(end_user="ada"), request=UNNAMED)

    stored = await harness.inferences.get(ADA.project, again.id)
    assert again.cache is not None
    assert (stored.state, stored.end_user, stored.version) == (State.COMPLETED, "ada", 2)


async def test_an_end_user_s_question_that_a_kept_answer_answers_soon_is_saved_once_with_it() -> None:
    harness = CachedHarness()
    await harness.answer.whole(ADA, question(end_user="bob"), request=Request.digested("", ""))

    again = await harness.answer.whole(ADA, question(end_user="ada"), request=UNNAMED)

    stored = await harness.inferences.get(ADA.project, again.id)
    assert again.cache is not None
    assert (stored.state, stored.end_user, stored.version) == (State.COMPLETED, "ada", 1)


async def test_an_end_user_s_question_that_no_kept_answer_answers_is_recorded_before_its_model_is_asked() -> None:
    harness = CachedHarness()
    harness.engine.gate.clear()
    making = asyncio.create_task(harness.answer.whole(ADA, question(end_user="ada"), request=UNNAMED))
    await eventually(lambda: harness.engine.runs == 1)

    assert (await harness.only_record()).state is State.RESERVED
    harness.engine.gate.set()
    assert (await making).state is State.COMPLETED


async def test_an_end_user_s_question_that_cannot_be_recorded_is_not_answered_by_a_kept_answer() -> None:
    harness = CachedHarness(record_after_s=0)
    await harness.answer.whole(ADA, question(end_user="bob"), request=Request.digested("", ""))

    async def down(_record: Inference, *, request: Request) -> Inference:
        message = f"down for {request.id}"
        raise DependencyUnavailable(message, dependency="mongodb")

    harness.inferences.add = down  # type: ignore[assignment,method-assign]
    with pytest.raises(DependencyUnavailable):
        await harness.answer.whole(ADA, question(end_user="ada"), request=UNNAMED)
