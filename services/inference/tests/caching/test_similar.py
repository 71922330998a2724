"""Answers that are given again to similar questions."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.inference.tests.caching.similar import SEMANTIC, SimilarHarness
from services.inference.tests.fakes import ADA, HANDBOOK, all_steps, asking, question
from tidemill_core.application import Caller, Request
from tidemill_core.errors import DependencyUnavailable, InvalidInput, NotFound
from tidemill_inference.caching.domain.key import may_be_similar, numbers_in, scope_of
from tidemill_inference.caching.domain.policy import CachePolicy, SemanticCachePolicy
from tidemill_inference.caching.domain.use import CacheKind
from tidemill_inference.caching.reuse import ReuseAnswers
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.deployments.domain.spec import DeploymentSpec
from tidemill_inference.generation.domain.content import Message, Role
from tidemill_inference.generation.domain.inference import State
from tidemill_inference.generation.domain.tools import Tool
from tidemill_inference.generation.ports import Delta, Started


def says(text: str) -> dict[str, Any]:
    return {"messages": (Message.of(Role.USER, text),)}


WALK, ALIKE, OTHER = says("What does os.walk do?"), says("Now what does os.walk do?"), says("Who wrote json at first?")


async def test_a_similar_question_gets_the_answer_of_an_earlier_one_without_a_model() -> None:
    harness = SimilarHarness()
    first = await harness.ask("r1", **WALK)

    again = await harness.ask("r2", end_user="bob", **ALIKE)

    assert harness.engine.runs == 1
    assert again.output == first.output
    assert again.passages == first.passages
    assert again.cache is not None
    assert (again.cache.kind, again.cache.inference) == (CacheKind.SEMANTIC, first.id)
    assert again.cache.similarity == pytest.approx(0.8)
    assert again.usage is not None
    assert (again.usage.input_tokens, again.usage.output_tokens, again.attempts) == (0, 0, ())
    record = await harness.stored(again)
    assert (record.state, record.end_user, record.cache) == (State.COMPLETED, "bob", again.cache)
    await harness.savings.flush()
    [day] = harness.saved.days
    assert (day.savings.semantic_hits, day.savings.exact_hits, day.savings.made) == (1, 0, 1)


async def test_an_equal_question_is_found_without_being_compared() -> None:
    harness = SimilarHarness()
    await harness.ask("r1", **WALK)
    harness.similar.calls.clear()

    again = await harness.ask("r2", **WALK)

    assert again.cache is not None
    assert (again.cache.kind, again.cache.similarity, harness.similar.calls) == (CacheKind.EXACT, 0.0, [])


async def test_a_stream_of_it_says_first_that_it_was_given_before() -> None:
    harness = SimilarHarness()
    first = await harness.ask("r1", **WALK)

    started, *said, _ = await all_steps(harness.answer(ADA, question(**ALIKE), request=asking("r2")))

    assert isinstance(started, Started)
    assert started.inference.cache is not None
    assert "".join(each.text for each in said if isinstance(each, Delta)) == first.output[0].text


async def test_another_question_is_answered_anew() -> None:
    harness = SimilarHarness()
    await harness.ask("r1", **WALK)

    assert (await harness.ask("r2", **OTHER)).cache is None
    assert harness.engine.runs == 2


async def test_questions_with_other_numbers_are_never_the_same() -> None:
    harness = SimilarHarness()
    await harness.ask("r1", **says("What was the tax rate in the year 2023"))

    assert (await harness.ask("r2", **says("What was the tax rate in the year 2024"))).cache is None
    assert (await harness.ask("r3", **says("What was the tax rate in 2023 the year"))).cache is not None
    assert (numbers_in("a1 b 07"), numbers_in("7 and 1"), numbers_in("\u0661")) == ([1, 7], [7, 1], [1])


DIFFERENT: dict[str, dict[str, Any]] = {
    "readers of another group": {"principals": ("group:hr",)},
    "variables": {"variables": {"tone": "short"}},
    "fewer tokens": {"sampling": Sampling(max_output_tokens=3)},
    "another deployment": {"deployment": "other"},
}


@pytest.mark.parametrize("changes", DIFFERENT.values(), ids=DIFFERENT)
def test_all_but_the_messages_is_in_the_scope(changes: dict[str, Any]) -> None:
    scopes = {scope_of(question(**each), configuration="c") for each in ({}, changes, ALIKE)}
    scopes |= {scope_of(question(), configuration="d")}

    assert len(scopes) == 3


TOOL = Tool(name="now", description="", parameters_json="{}")
NEVER: dict[str, dict[str, Any]] = {
    "a conversation's turns": {"messages": (*WALK["messages"], Message.of(Role.ASSISTANT, "b"), *WALK["messages"])},
    "instructions of the caller": {"messages": (Message.of(Role.SYSTEM, "a"), *WALK["messages"])},
    "tools": {"tools": (TOOL,)},
    "several candidates": {"candidates": 2},
    "a named author": {"messages": (replace(WALK["messages"][0], name="bob"),)},
    "no text": says("  "),
}


@pytest.mark.parametrize("changes", NEVER.values(), ids=NEVER)
def test_only_a_single_message_that_asks_for_one_text_is_compared(changes: dict[str, Any]) -> None:
    assert may_be_similar(question(**WALK))
    assert not may_be_similar(question(**{**WALK, **changes}))


async def test_what_may_not_be_compared_is_not_sent_to_rag() -> None:
    harness = SimilarHarness()

    await harness.ask("r1", **NEVER["a conversation's turns"])
    await harness.ask("r2", **{**WALK, "conversation": "c1"})
    await harness.ask("r3", **NEVER["instructions of the caller"])

    assert harness.similar.calls == []


async def test_a_changed_document_has_the_answer_made_anew_and_the_question_compared_no_more() -> None:
    harness = SimilarHarness()
    await harness.ask("r1", **WALK)
    harness.rag.passages = (replace(HANDBOOK[0], version=4), *HANDBOOK[1:])

    again = await harness.ask("r2", **ALIKE)

    assert (harness.engine.runs, again.cache) == (2, None)
    assert [each.inference for each in harness.similar.kept] == [again.id]


async def test_a_new_document_that_the_earlier_question_would_find_voids_its_answer() -> None:
    harness = SimilarHarness()
    await harness.ask("r1", **WALK)
    harness.rag.passages = (replace(HANDBOOK[0], document="new"), *HANDBOOK)

    assert (await harness.ask("r2", **ALIKE)).cache is None


async def test_an_answer_expires_for_similar_questions_too() -> None:
    harness = SimilarHarness()
    first = await harness.ask("r1", end_user="ada", **WALK)
    [kept] = harness.similar.kept
    assert (kept.end_user, kept.expire_time) == ("ada", harness.clock.now() + timedelta(hours=1))
    assert kept.inference == first.id
    harness.clock.advance(timedelta(hours=1))

    assert (await harness.ask("r2", **ALIKE)).cache is None


async def test_an_erased_answer_is_not_given_to_similar_questions() -> None:
    harness = SimilarHarness()
    first = await harness.ask("r1", end_user="ada", **WALK)
    await harness.inferences.update(
        ADA.project, first.id, lambda record: record.erase(now=harness.clock.now()), request=Request.internal()
    )

    again = await harness.ask("r2", **ALIKE)

    assert (harness.engine.runs, again.cache) == (2, None)
    assert first.id not in {each.inference for each in harness.similar.kept}


@pytest.mark.parametrize(
    "error", [DependencyUnavailable("down", dependency="rag"), NotFound("there is no model minilm")]
)
async def test_where_rag_fails_the_answer_is_made(error: Exception) -> None:
    harness = SimilarHarness()
    await harness.ask("r1", **WALK)
    harness.similar.down = error  # type: ignore[assignment] # a TidemillError

    again = await harness.ask("r2", **ALIKE)

    assert (again.state, again.cache, harness.engine.runs) == (State.COMPLETED, None, 2)
    assert len(harness.similar.kept) == 1


async def test_a_rag_that_hangs_holds_no_answer_up_and_is_left_alone_for_a_while() -> None:
    harness = SimilarHarness(timeout_s=0.01, pause_s=60.0)
    harness.similar.gate.clear()

    await harness.ask("r1", **WALK)
    await harness.ask("r2", **OTHER)

    assert (harness.engine.runs, harness.similar.calls) == (2, ["nearest"])
    harness.similar.gate.set()
    await asyncio.sleep(0)


async def test_rag_is_left_alone_by_the_project_alone_whose_model_fails() -> None:
    harness = SimilarHarness(pause_s=60.0)
    await harness.ask("r1", **WALK)
    reusing = harness.answer.make.reusing
    assert isinstance(reusing, ReuseAnswers)
    assert reusing.comparing is not None
    harness.similar.down = NotFound("there is no model minilm")
    await reusing.comparing.remove(Caller(project="globex", subject="user:eve"), "i9")
    harness.similar.down = None

    assert (await harness.ask("r2", **ALIKE)).cache is not None


async def test_an_answer_does_not_wait_until_its_question_is_kept() -> None:
    harness = SimilarHarness(timeout_s=60.0)
    nearest = harness.similar.nearest

    async def found_then_hanging(*given: Any, **named: Any) -> Any:  # noqa: ANN401 - of the port
        found = await nearest(*given, **named)
        harness.similar.gate.clear()
        return found

    harness.similar.nearest = found_then_hanging  # type: ignore[method-assign]

    async with asyncio.timeout(10):
        assert (await harness.ask("r1", **WALK)).state is State.COMPLETED
    harness.similar.gate.set()


async def test_without_a_semantic_policy_nothing_is_compared() -> None:
    harness = SimilarHarness(cache=CachePolicy(ttl=timedelta(hours=1)))

    for number, asked in enumerate((WALK, ALIKE)):
        await harness.ask(f"r{number}", **asked)

    assert (harness.engine.runs, harness.similar.calls) == (2, [])


async def test_what_an_answer_cites_has_to_be_found_for_the_similar_question_too() -> None:
    harness = SimilarHarness()
    await harness.ask("r1", **WALK)
    search = harness.rag.search

    async def elsewhere(*given: Any, **named: Any) -> Any:  # noqa: ANN401 - of the retriever
        found = await search(*given, **named)
        ours = named["question"] == ALIKE["messages"][0].text
        return replace(found, passages=tuple(replace(each, document="x") for each in found.passages)) if ours else found

    harness.rag.search = elsewhere  # type: ignore[method-assign]

    assert (await harness.ask("r2", **ALIKE)).cache is None
    assert len(harness.similar.kept) == 2


@pytest.mark.parametrize(
    ("semantic", "message"),
    [
        (SemanticCachePolicy(embedding=""), "cache.semantic.embedding: has 0 characters; name an embedding model"),
        (SemanticCachePolicy(embedding="m", threshold=0.5), "cache.semantic.threshold: is 0.5; use 0.7 to 1"),
        (SemanticCachePolicy(embedding="m", threshold=float("nan")), "cache.semantic.threshold: is nan"),
    ],
)
def test_a_policy_that_cannot_work_is_refused(semantic: SemanticCachePolicy, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        DeploymentSpec(model="m", prompt="p", cache=replace(SEMANTIC, semantic=semantic)).check()
