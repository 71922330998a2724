"""Answers that are given again."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.inference.tests.caching.cached import CachedHarness
from services.inference.tests.fakes import ADA, HANDBOOK, all_steps, asking, question
from tidemill_core.application import Request
from tidemill_core.errors import DependencyUnavailable, InvalidInput
from tidemill_inference.caching.domain.key import key_of
from tidemill_inference.caching.domain.policy import CachePolicy
from tidemill_inference.caching.domain.use import CacheKind, CacheUse
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.deployments.domain.spec import DeploymentSpec, RecordMode
from tidemill_inference.generation.domain.content import Message, Role
from tidemill_inference.generation.domain.inference import State
from tidemill_inference.generation.domain.question import Purpose
from tidemill_inference.generation.ports import Delta
from tidemill_testkit.polling import eventually, run_ready_tasks


async def test_an_equal_question_gets_the_answer_again_without_a_model() -> None:
    harness = CachedHarness()
    first = await harness.ask("r1")

    again = await harness.ask("r2", end_user="bob")

    assert harness.engine.runs == 1
    assert again.output == first.output
    assert [each.text for each in again.passages] == [each.text for each in HANDBOOK]
    assert again.id != first.id
    assert again.cache is not None
    assert replace(again.cache, saved_time_s=0.0) == CacheUse(
        kind=CacheKind.EXACT, inference=first.id, saved_input_tokens=10, saved_output_tokens=5
    )
    assert again.usage is not None
    assert (again.usage.input_tokens, again.usage.output_tokens) == (0, 0)
    assert first.cache is None


async def test_an_answer_given_again_has_a_record_and_an_event_of_its_own() -> None:
    harness = CachedHarness()
    first = await harness.ask("r1")

    again = await harness.ask("r2", end_user="bob")

    record = await harness.stored(again)
    assert (record.state, record.end_user, record.output) == (State.COMPLETED, "bob", first.output)
    assert record.cache == again.cache
    assert record.attempts == ()
    assert [type(each).__name__ for each in harness.inferences.published] == ["InferenceWasCompleted"] * 2


async def test_a_stream_of_it_has_the_same_steps() -> None:
    harness = CachedHarness()
    first = await harness.ask("r1")

    _, *said, finished = await all_steps(harness.answer(ADA, question(), request=asking("r2")))

    assert "".join(each.text for each in said if isinstance(each, Delta)) == first.output[0].text
    assert finished.inference.cache is not None  # type: ignore[union-attr] # the last step


OTHERS: dict[str, dict[str, Any]] = {
    "another question": {"messages": (Message.of(Role.USER, "What does json do?"),)},
    "a turn before it": {
        "messages": (
            Message.of(Role.USER, "Hello"),
            Message.of(Role.ASSISTANT, "Hi"),
            Message.of(Role.USER, "What does os.walk do?"),
        )
    },
    "readers of another group": {"principals": ("group:hr",)},
    "variables": {"variables": {"tone": "short"}},
    "fewer tokens": {"sampling": Sampling(max_output_tokens=3)},
    "several candidates": {"candidates": 2},
    "the best of several": {"best_of": 2},
}


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
def test_what_an_answer_is_made_from_and_for_whom_is_in_its_key(changes: dict[str, Any]) -> None:
    asked, other = question(), question(**changes)

    keys = {key_of(each, configuration="c", index=4, passages=HANDBOOK) for each in (asked, other)}

    assert len(keys) == 2


def test_versions_and_spans_of_passages_index_and_configuration_are_in_the_key() -> None:
    passage = HANDBOOK[0]
    others = [replace(passage, version=passage.version + 1), replace(passage, end=passage.end + 1)]
    found = [(), HANDBOOK, HANDBOOK[::-1], *((each, *HANDBOOK[1:]) for each in others)]

    keys = {key_of(question(), configuration="c", index=4, passages=each) for each in found}
    keys |= {key_of(question(), configuration="d", index=4, passages=HANDBOOK)}
    keys |= {key_of(question(), configuration="c", index=5, passages=HANDBOOK)}

    assert len(keys) == len(found) + 2


def test_a_question_has_the_key_that_it_had_before_there_was_best_of() -> None:
    key = key_of(question(), configuration="c", index=4, passages=HANDBOOK)

    assert key == "14b34ccabbf215448ca1399830f54e0c7321606cc8569afaf3d80317112715a7"


def test_who_asks_and_how_it_is_asked_is_not_in_the_key() -> None:
    others: list[dict[str, Any]] = [{"end_user": "bob"}, {"labels": {"a": "b"}}, {"no_cache": True}, {"notes": ("x",)}]
    others += [{"principals": ("b", "a", "a")}]
    asked = question(principals=("a", "b"))

    keys = {
        key_of(each, configuration="c", index=4, passages=HANDBOOK)
        for each in (asked, *(question(**{"principals": ("a", "b"), **changes}) for changes in others))
    }

    assert len(keys) == 1


async def test_a_changed_document_has_the_answer_made_anew() -> None:
    harness = CachedHarness()
    await harness.ask("r1")
    harness.rag.passages = (replace(HANDBOOK[0], version=4), *HANDBOOK[1:])

    again = await harness.ask("r2")

    assert (harness.engine.runs, again.cache) == (2, None)


async def test_an_answer_expires() -> None:
    harness = CachedHarness(ttl=timedelta(minutes=5))
    await harness.ask("r1")
    harness.clock.advance(timedelta(minutes=5))

    assert (await harness.ask("r2")).cache is None
    assert (await harness.ask("r3")).cache is not None


async def test_a_caller_may_have_it_made_anew_which_later_ones_then_get() -> None:
    harness = CachedHarness()
    await harness.ask("r1")

    anew = await harness.ask("r2", no_cache=True)
    later = await harness.ask("r3")

    assert (anew.cache, harness.engine.runs) == (None, 2)
    assert later.cache is not None
    assert later.cache.inference == anew.id


NOT_AGAIN: dict[str, dict[str, Any]] = {
    "a comparison": {"purpose": Purpose.EVALUATION},
    "a question in a conversation": {"conversation": "c1"},
    "log probabilities": {"sampling": Sampling(logprobs=True)},
}


@pytest.mark.parametrize("changes", NOT_AGAIN.values(), ids=NOT_AGAIN)
async def test_what_goes_on_or_compares_is_made_each_time(changes: dict[str, Any]) -> None:
    harness = CachedHarness(allow_sampling_override=True)

    for number in range(2):
        await harness.ask(f"r{number}", **changes)

    assert harness.engine.runs == 2
    assert harness.cached.entries == {}


async def test_a_degraded_answer_and_one_without_its_text_in_the_record_are_not_given_again() -> None:
    for changes, mode in (({"says": ""}, None), ({}, RecordMode.METADATA)):
        harness = CachedHarness()
        for name, value in changes.items():
            setattr(harness.engine, name, value)
        for number in range(2):
            await harness.ask(f"r{number}", record=mode)
        assert harness.engine.runs == 2


async def test_a_question_whose_record_keeps_less_gets_what_another_record_has() -> None:
    harness = CachedHarness()
    first = await harness.ask("r1")

    again = await harness.ask("r2", record=RecordMode.NONE)

    assert again.output == first.output
    record = await harness.stored(again)
    assert (record.output, record.cache, record.usage) == ((), None, None)


async def test_without_a_policy_nothing_is_asked_of_the_cache() -> None:
    harness = CachedHarness(cache=None)

    for number in range(2):
        await harness.ask(f"r{number}")

    assert (harness.engine.runs, harness.cached.calls) == (2, 0)


async def test_equal_questions_at_the_same_time_are_answered_once() -> None:
    harness = CachedHarness()
    harness.engine.gate.clear()

    asked = [asyncio.create_task(harness.ask(f"r{number}")) for number in range(5)]
    await run_ready_tasks()
    harness.engine.gate.set()
    answers = await asyncio.gather(*asked)

    assert harness.engine.runs == 1
    assert [each.cache is None for each in answers].count(True) == 1
    assert len({each.output for each in answers}) == 1


async def test_where_the_first_of_them_fails_the_others_are_all_made_at_once() -> None:
    harness = CachedHarness()
    harness.engine.gate.clear()
    first = asyncio.create_task(harness.ask("r0"))
    await run_ready_tasks()
    others = [asyncio.create_task(harness.ask(f"r{number}")) for number in (1, 2)]
    await run_ready_tasks()

    first.cancel()
    await asyncio.wait([first])
    await eventually(lambda: harness.engine.runs == 3)
    harness.engine.gate.set()
    answers = await asyncio.gather(*others)

    assert all(each.output and each.cache is None for each in answers)


async def test_an_erased_answer_is_not_given_again() -> None:
    harness = CachedHarness()
    first = await harness.ask("r1", end_user="ada")
    await harness.inferences.update(
        ADA.project, first.id, lambda record: record.erase(now=harness.clock.now()), request=Request.internal()
    )

    again = await harness.ask("r2")

    assert (harness.engine.runs, again.cache) == (2, None)
    assert [each.inference for each in harness.cached.entries.values()] == [again.id]


async def test_an_answer_whose_record_is_gone_is_not_given_again() -> None:
    harness = CachedHarness()
    first = await harness.ask("r1")
    harness.inferences.remove(ADA.project, first.id)

    assert (await harness.ask("r2")).cache is None


async def test_a_store_that_is_down_costs_the_cache_and_not_the_answer() -> None:
    harness = CachedHarness()
    await harness.ask("r1")
    harness.cached.down = DependencyUnavailable("down", dependency="mongodb")

    again = await harness.ask("r2")

    assert (again.state, again.cache, harness.engine.runs) == (State.COMPLETED, None, 2)


async def test_a_project_has_only_so_many_and_those_that_expire_first_are_removed() -> None:
    harness = CachedHarness(max_entries=20)

    for number in range(30):
        await harness.ask(f"r{number}", messages=(Message.of(Role.USER, f"What is {number}?"),))
        harness.clock.advance(timedelta(seconds=1))

    assert 18 <= len(harness.cached.entries) <= 20
    await harness.ask("last", messages=(Message.of(Role.USER, "What is 29?"),))
    assert harness.engine.runs == 30
    await harness.ask("oldest", messages=(Message.of(Role.USER, "What is 0?"),))
    assert harness.engine.runs == 31


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cache": CachePolicy(ttl=timedelta())}, "cache.ttl: is 0 s; use more than 0 and at most 30 days"),
        ({"cache": CachePolicy(ttl=timedelta(days=31))}, "cache.ttl: is 2.6784e.06 s"),
        (
            {"cache": CachePolicy(ttl=timedelta(hours=1)), "record": RecordMode.METADATA},
            "cache: needs full records: record is METADATA",
        ),
    ],
)
def test_a_policy_that_cannot_work_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        DeploymentSpec(model="m", prompt="p", **changes).check()
