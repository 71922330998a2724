"""What is recorded of a question while kept answers are searched for its own, or its answer begins to be made."""

import asyncio

import pytest

from services.inference.tests.caching.cached import CachedHarness
from services.inference.tests.fakes import ADA, question
from tidemill_core.application import Request
from tidemill_inference.caching.ports import Entry
from tidemill_inference.generation.domain.errors import LeaseLost
from tidemill_inference.generation.domain.inference import Inference, InferenceWasCancelled, State
from tidemill_inference.generation.erase_end_user import EraseEndUser

UNNAMED = Request.digested("", "")


async def test_a_person_who_is_erased_while_kept_answers_are_searched_is_not_stored_afterwards() -> None:
    harness = CachedHarness()
    searching, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_project: str, _key: str) -> Entry | None:
        searching.set()
        await go_on.wait()
        return None

    harness.cached.get = slow  # type: ignore[assignment,method-assign]
    asking = asyncio.create_task(harness.answer.whole(ADA, question(end_user="ada"), request=UNNAMED))
    await searching.wait()
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
