"""What an answer that is given again costs in calls of the store."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from services.inference.tests.caching.cached import CachedHarness
from services.inference.tests.fakes import ADA, asking, question
from tidemill_core.application import Request
from tidemill_inference.caching import reuse
from tidemill_inference.caching.ports import Entry
from tidemill_inference.caching.reuse import ReuseAnswers
from tidemill_inference.generation.domain.inference import Inference, State
from tidemill_testkit.polling import eventually


async def asked(harness: CachedHarness) -> Inference:
    """Ask as a caller without a request id."""
    return await harness.answer.whole(ADA, question(), request=Request.digested("", ""))


def read_only_together(harness: CachedHarness) -> None:
    """Let neither an entry nor a record be read before the other one is."""
    reading, entry, record = asyncio.Barrier(2), harness.cached.get, harness.inferences.get

    async def together(read: Any, *args: Any) -> Any:  # noqa: ANN401 - of either store
        await reading.wait()
        return await read(*args)

    harness.cached.get = partial(together, entry)  # type: ignore[method-assign]
    harness.inferences.get = partial(together, record)  # type: ignore[method-assign]


async def test_an_answer_given_again_to_a_caller_without_an_id_is_saved_once_and_one_that_is_made_twice() -> None:
    harness = CachedHarness()

    made, again = await asked(harness), await asked(harness)

    assert again.cache is not None
    assert ((await harness.stored(made)).version, (await harness.stored(again)).version) == (2, 1)
    assert [type(each).__name__ for each in harness.inferences.published] == ["InferenceWasCompleted"] * 2


async def test_an_answer_that_is_not_there_yet_is_recorded_before_its_model_is_asked() -> None:
    harness = CachedHarness()
    harness.engine.gate.clear()
    making = asyncio.create_task(asked(harness))
    await eventually(lambda: harness.engine.runs == 1)

    assert (await harness.only_record()).state is State.RESERVED
    harness.engine.gate.set()
    assert (await making).state is State.COMPLETED


async def test_a_client_that_leaves_before_a_model_is_asked_leaves_a_record_of_that() -> None:
    harness = CachedHarness()
    searching = asyncio.Event()

    async def never(*_: Any) -> None:  # noqa: ANN401 - whatever it is asked for
        searching.set()
        await asyncio.Event().wait()

    harness.cached.get = never  # type: ignore[method-assign,assignment] # an entry that never comes
    asking_ = asyncio.create_task(asked(harness))
    await searching.wait()
    asking_.cancel()
    await asyncio.wait({asking_})

    assert (await harness.only_record()).state is State.CANCELLED
    assert harness.engine.runs == 0


async def test_the_entry_and_the_record_that_it_named_before_are_read_at_the_same_time() -> None:
    harness = CachedHarness()
    first = await harness.ask("r1")
    read_only_together(harness)

    async with asyncio.timeout(30):
        again = await harness.ask("r2")

    assert again.output == first.output


async def test_of_too_many_keys_the_one_that_was_asked_for_least_recently_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reuse, "_MAX_KNOWN", 2)
    harness = CachedHarness()
    for number, text in enumerate(("asked again", "asked once", "asked again", "asked last")):
        await harness.ask(f"r{number}", text=text)
    read_only_together(harness)

    async with asyncio.timeout(30):
        again = await harness.ask("r4", text="asked again")

    assert again.cache is not None


async def test_an_entry_that_another_replica_has_written_meanwhile_is_followed() -> None:
    harness = CachedHarness()
    await harness.ask("r1")
    elsewhere = ReuseAnswers(cached=harness.cached, inferences=harness.inferences, clock=harness.clock, max_entries=100)
    replica = replace(harness.answer, make=replace(harness.answer.make, reusing=elsewhere))
    anew = await replica.whole(ADA, question(no_cache=True), request=asking("r2"))

    again = await harness.ask("r3")

    assert again.cache is not None
    assert again.cache.inference == anew.id


async def test_an_entry_that_was_read_a_moment_ago_is_not_read_again_and_its_record_is() -> None:
    harness = CachedHarness(entry_max_age=timedelta(seconds=1))
    first = await harness.ask("r1")
    calls = harness.cached.calls

    again = await harness.ask("r2")
    calls_of_a_hit = harness.cached.calls - calls
    harness.clock.advance(timedelta(seconds=1))
    later = await harness.ask("r3")

    assert (again.cache and again.cache.inference, later.cache and later.cache.inference) == (first.id, first.id)
    assert (calls_of_a_hit, harness.cached.calls - calls) == (0, 1)


async def test_what_was_read_while_another_answer_was_kept_is_not_remembered_in_its_place() -> None:
    harness, reading, kept = CachedHarness(entry_max_age=timedelta(seconds=1)), asyncio.Event(), asyncio.Event()
    await harness.ask("r1")
    harness.clock.advance(timedelta(seconds=1))
    read = harness.cached.get

    async def late(project: str, key: str) -> Entry | None:
        found = await read(project, key)
        reading.set()
        await kept.wait()
        return found

    harness.cached.get = late  # type: ignore[method-assign] # as a slow store answers
    hit = asyncio.create_task(harness.ask("r2"))
    await reading.wait()
    anew = await harness.ask("r3", no_cache=True)
    kept.set()

    assert [each.cache and each.cache.inference for each in (await hit, await harness.ask("r4"))] == [anew.id] * 2


async def test_of_an_entry_that_was_read_a_moment_ago_the_erased_answer_is_not_given_again() -> None:
    harness = CachedHarness(entry_max_age=timedelta(seconds=1))
    first = await harness.ask("r1", end_user="ada")
    await harness.inferences.update(
        ADA.project, first.id, lambda record: record.erase(now=harness.clock.now()), request=Request.internal()
    )

    anew = await harness.ask("r2")
    again = await harness.ask("r3")

    assert (anew.cache, again.cache and again.cache.inference) == (None, anew.id)


async def test_what_is_remembered_of_a_project_is_forgotten_with_it() -> None:
    harness = CachedHarness()
    await harness.ask("r1")
    reusing = harness.answer.make.reusing
    assert isinstance(reusing, ReuseAnswers)

    assert reusing.projects == {ADA.project}
    await reusing.forget(ADA.project)
    assert reusing.projects == set()
