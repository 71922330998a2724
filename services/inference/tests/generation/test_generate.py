"""One answer: which model gives it, on which passages and messages, and what it cites."""

import threading
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta

import pytest

from services.inference.tests.fakes import ADA, AnsweringHarness, ScriptedEngine, all_steps, asking, helpdesk, question
from tidemill_core.errors import (
    Blame,
    DeadlineExceeded,
    DependencyUnavailable,
    Internal,
    RateLimited,
    TidemillError,
)
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.engines.ports import Finish, Piece, ToolCallPiece
from tidemill_inference.errors import CapabilityMissing, PromptTooLong
from tidemill_inference.generation.citations.citations import Grounding
from tidemill_inference.generation.domain.content import Message, Role, ToolCall
from tidemill_inference.generation.domain.inference import (
    State,
)
from tidemill_inference.generation.domain.tools import Tool
from tidemill_inference.generation.ports import Delta, Finished
from tidemill_inference.generation.steps import cite

DOWN = DependencyUnavailable("it is down", dependency="it", blame=Blame.VARIANT)


async def test_no_answer_without_passages_when_rag_is_down() -> None:
    harness = AnsweringHarness()
    harness.rag.down = DOWN

    with pytest.raises(DependencyUnavailable):
        await harness.answer.whole(ADA, question(), request=asking("r1"))

    assert harness.engine.runs == 0
    assert (await harness.only_record()).state is State.FAILED


async def test_the_next_model_answers_when_one_fails_before_its_first_token() -> None:
    harness = AnsweringHarness(
        ScriptedEngine(fails_before=DOWN), deployment=helpdesk(fallback=("gpt",)), gpt=ScriptedEngine()
    )

    answer = await harness.answer.whole(ADA, question(), request=asking("r1"))

    assert answer.variant is not None
    assert answer.variant.model == "gpt@1"
    assert answer.warnings == ("fallback used: smollm2@1 failed (DEPENDENCY_UNAVAILABLE)",)


@pytest.mark.parametrize("error", [RateLimited("busy", retry_after_s=7), PromptTooLong(), DOWN])
async def test_a_failure_before_the_first_token_is_reported_as_nothing_else(error: TidemillError) -> None:
    harness = AnsweringHarness(ScriptedEngine(fails_before=error))

    steps = harness.answer(ADA, question(), request=asking("r1"))

    with pytest.raises(type(error)):
        await anext(steps)


@pytest.mark.parametrize("error", [RateLimited("busy", retry_after_s=7), PromptTooLong()])
async def test_a_busy_model_and_one_with_too_small_a_window_are_replaced(error: TidemillError) -> None:
    harness = AnsweringHarness(
        ScriptedEngine(fails_before=error), deployment=helpdesk(fallback=("gpt",)), gpt=ScriptedEngine(says="yes")
    )

    answer = await harness.answer.whole(ADA, question(), request=asking("r1"))

    assert answer.variant is not None
    assert answer.variant.model == "gpt@1"


async def test_a_model_that_hangs_has_its_share_of_the_deadline_and_the_next_one_answers() -> None:
    fallback = ScriptedEngine(says="os.walk walks a directory tree.")
    harness = AnsweringHarness(deployment=helpdesk(fallback=("gpt",), deadline=timedelta(seconds=1)), gpt=fallback)
    harness.engine.gate.clear()

    answer = await harness.answer.whole(ADA, question(), request=asking("r1"))

    assert answer.variant is not None
    assert answer.variant.model == "gpt@1"
    assert answer.warnings == ("fallback used: smollm2@1 failed (DEPENDENCY_TIMED_OUT)",)


async def test_a_model_that_has_begun_keeps_the_whole_deadline() -> None:
    slow = ScriptedEngine(says="os.walk walks a directory tree.", free_words=1)
    harness = AnsweringHarness(
        slow, deployment=helpdesk(fallback=("gpt",), deadline=timedelta(seconds=1)), gpt=ScriptedEngine()
    )
    slow.gate.clear()
    steps = harness.answer(ADA, question(), request=asking("r1"))
    async with aclosing(steps):
        await anext(steps)
        with pytest.raises(DeadlineExceeded):
            await all_steps(steps)

    assert slow.runs == 1


async def test_an_answer_without_text_says_so() -> None:
    harness = AnsweringHarness(ScriptedEngine(says=""))

    answer = await harness.answer.whole(ADA, question(), request=asking("r1"))

    assert answer.warnings == ("model smollm2@1 said nothing (finish reason stop)",)


async def test_no_other_model_takes_over_in_the_middle_of_an_answer() -> None:
    broken = ScriptedEngine(fails_after=Internal("it broke"))
    harness = AnsweringHarness(broken, deployment=helpdesk(fallback=("gpt",)), gpt=ScriptedEngine())

    with pytest.raises(Internal):
        await harness.answer.whole(ADA, question(), request=asking("r1"))


async def test_passages_that_do_not_fit_are_cut_from_the_end_and_the_answer_says_so() -> None:
    harness = AnsweringHarness(
        ScriptedEngine(context_tokens=30), deployment=helpdesk(sampling=Sampling(max_output_tokens=14))
    )

    answer = await harness.answer.whole(ADA, question(), request=asking("r1"))

    assert [passage.id for passage in answer.passages] == ["1"]
    assert answer.warnings == ("1 of 2 passages cut: they did not fit the model's context",)


async def test_a_passage_that_is_too_long_gives_its_space_to_the_next_one() -> None:
    harness = AnsweringHarness(
        ScriptedEngine(context_tokens=30), deployment=helpdesk(sampling=Sampling(max_output_tokens=14))
    )
    giant, fitting = harness.rag.passages
    harness.rag.passages = (replace(giant, text="word " * 100), fitting)

    answer = await harness.answer.whole(ADA, question(), request=asking("r1"))

    assert [passage.id for passage in answer.passages] == ["2"]
    assert answer.warnings == ("1 of 2 passages cut: they did not fit the model's context",)


async def test_messages_that_do_not_fit_are_refused_with_tokens_and_limit() -> None:
    harness = AnsweringHarness(ScriptedEngine(context_tokens=20))

    with pytest.raises(PromptTooLong, match=r"maximum context length is 20 .* come to 54"):
        await harness.answer.whole(ADA, question("word " * 50), request=asking("r1"))


async def test_earlier_turns_are_passed_on_and_system_messages_join_the_prompts() -> None:
    harness = AnsweringHarness()
    turns = (
        Message.of(Role.SYSTEM, "Be brief."),
        Message.of(Role.USER, "Hello"),
        Message.of(Role.ASSISTANT, "Hi"),
        Message.of(Role.USER, "What does os.walk do?"),
    )

    await harness.answer.whole(ADA, question(messages=turns), request=asking("r1"))

    seen = harness.engine.seen[0].messages
    assert [message.role for message in seen] == [Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.USER]
    assert seen[0].text == "Answer from the passages.\n\nBe brief."
    assert seen[3].text.endswith("What does os.walk do?")


@pytest.mark.parametrize(
    "said",
    [
        "os.walk walks a directory tree [1]. It is fast [9]. Blue cows sing.",
        "Write `row = table [0]` or `xs = [5]`; the default is [3].",
        "Use this:\n```python\ndef first():\n    return [7]\nfor i in [1]:\n    print(i)\n```\nDone.",
        'Send {"sizes": [4], "ids": [12, 13]} to the door.',
        "The interval is [0] to [1], i.e. x in [0, 1].  It waits [5]\n\tseconds, then [10]. ",
    ],
)
async def test_what_the_model_wrote_reaches_user_stream_and_record_to_the_character(said: str) -> None:
    harness = AnsweringHarness(ScriptedEngine(says=said))

    steps = await all_steps(harness.answer(ADA, question(), request=asking("r1")))

    assert isinstance(steps[-1], Finished)
    kept = await harness.inferences.get(ADA.project, steps[-1].inference.id)
    assert steps[-1].inference.output[0].text == kept.output[0].text == said
    assert "".join(step.text for step in steps if isinstance(step, Delta)) == said


@pytest.mark.heavy
async def test_what_is_cited_of_a_very_long_answer_is_said() -> None:
    harness = AnsweringHarness(ScriptedEngine(says="os.walk walks a directory tree. " + "na " * 20_000))

    answer = await harness.answer.whole(ADA, question(), request=asking("r1"))

    assert answer.warnings == ("citations end after 32768 of 60032 characters",)


async def test_citations_are_worked_out_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    def ground(*_: object, **__: object) -> Grounding:
        threads.append(threading.get_ident())
        return Grounding(citations=(), valid=None)

    monkeypatch.setattr(cite, "ground", ground)
    await AnsweringHarness().answer.whole(ADA, question(), request=asking("r1"))

    assert len(threads) == 1
    assert threads != [threading.get_ident()]


async def test_without_retrieval_there_are_no_passages_and_texts_stay_as_they_are() -> None:
    harness = AnsweringHarness(ScriptedEngine(says="see [9]"), deployment=helpdesk(retrieval=None))

    answer = await harness.answer.whole(ADA, question(), request=asking("r1"))

    assert (answer.passages, answer.citation_valid) == ((), None)
    assert answer.output[0].text == "see [9]"
    assert not harness.rag.asked


async def test_what_a_model_cannot_do_is_answered_by_the_fallback_that_can() -> None:
    plain, able = ScriptedEngine(capabilities=frozenset()), ScriptedEngine(says="sunny")
    harness = AnsweringHarness(plain, deployment=helpdesk(fallback=("gpt",)), gpt=able)

    inference = await harness.answer.whole(ADA, question(tools=(Tool(name="weather"),)), request=asking("r1"))

    assert (plain.runs, able.runs, inference.variant and inference.variant.model) == (0, 1, "gpt@1")
    assert able.seen[0].tools == (Tool(name="weather"),)


async def test_what_no_model_can_do_is_refused_by_name() -> None:
    plain = ScriptedEngine(capabilities=frozenset())
    harness = AnsweringHarness(plain, deployment=helpdesk(fallback=("gpt",)), gpt=plain)
    asked = question(candidates=2, sampling=Sampling(logprobs=True, presence_penalty=0.0))

    with pytest.raises(CapabilityMissing) as refused:
        await harness.answer.whole(ADA, asked, request=asking("r1"))

    assert [each.field for each in refused.value.violations] == ["sampling.logprobs", "candidate_count"]
    assert plain.runs == 0


async def test_a_fallback_that_cannot_do_it_does_not_hide_that_the_model_failed() -> None:
    plain = ScriptedEngine(capabilities=frozenset())
    harness = AnsweringHarness(ScriptedEngine(fails_before=DOWN), deployment=helpdesk(fallback=("gpt",)), gpt=plain)

    with pytest.raises(DependencyUnavailable):
        await harness.answer.whole(ADA, question(candidates=2), request=asking("r1"))


async def test_tool_calls_and_several_candidates_come_together_from_their_pieces() -> None:
    engine = ScriptedEngine(
        yields=(
            Piece(text="Let me "),
            Piece(text="Yes.", candidate=1),
            Piece(text="see."),
            ToolCallPiece(index=0, id="c1", name="look", arguments='{"a"'),
            ToolCallPiece(index=1, id="c2", name="look"),
            ToolCallPiece(index=0, arguments=": 1}"),
            Finish(reason="stop", candidate=1, input_tokens=5, output_tokens=1),
            Finish(reason="tool_calls", input_tokens=5, output_tokens=9, cached_input_tokens=4),
        )
    )
    harness = AnsweringHarness(engine, deployment=helpdesk(retrieval=None))

    inference = await harness.answer.whole(ADA, question(candidates=2), request=asking("r1"))

    (said,), (other,) = inference.output, inference.alternatives
    assert (said.text, inference.finish_reason, other.output[0].text, other.finish_reason) == (
        "Let me see.",
        "tool_calls",
        "Yes.",
        "stop",
    )
    assert said.tool_calls == (
        ToolCall(id="c1", name="look", arguments_json='{"a": 1}'),
        ToolCall(id="c2", name="look"),
    )
    assert inference.usage is not None
    assert (inference.usage.input_tokens, inference.usage.output_tokens, inference.usage.cached_input_tokens) == (
        5,
        10,
        4,
    )
