"""Questions that go on from an answer by its id: what they are given, and what they cannot go on from."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.inference.tests.conversations.test_join import chatting, seen
from services.inference.tests.fakes import ADA, AnsweringHarness, DirectTemplates, asking, question, writing
from tidemill.content.v1 import content_pb2
from tidemill.inference.v1 import inference_service_pb2 as pb
from tidemill_core.application import Caller
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.errors import PromptTooLong
from tidemill_inference.generation.domain.content import Message, Part, Role, ToolCall, ToolResult
from tidemill_inference.generation.domain.errors import (
    InferenceNotFound,
    PreviousNotFound,
    QuestionRefused,
    ResponseNotFound,
)
from tidemill_inference.generation.domain.inference import Inference, Lease, State, Variant, reserved
from tidemill_inference.generation.domain.question import Question
from tidemill_inference.generation.erase_inference import EraseInference
from tidemill_inference.generation.messages import question_of
from tidemill_inference.generation.show_prompt import ShowPrompt

BEN = Caller(project="acme", subject="ben", roles=frozenset({"contributor"}))
CALL = Part(tool_call=ToolCall(id="c1", name="look", arguments_json="{}"))
RESULT = Message(role=Role.TOOL, parts=(Part(tool_result=ToolResult(id="c1", text="calm")),))


def on(text: str, previous: str = "", **changes: object) -> Question:
    return question(text, **{"previous": previous, "store": True, "end_user": "u1", **changes})


async def ask(harness: AnsweringHarness, text: str, previous: str = "", **changes: object) -> Inference:
    asked = on(text, previous, **changes)
    return await harness.answer.whole(ADA, asked, request=asking(f"{text} {previous}", text))


async def erase(harness: AnsweringHarness, inference: str, caller: Caller = ADA) -> None:
    await EraseInference(inferences=harness.inferences, clock=harness.clock)(caller, inference, writing("e"))


async def calling(harness: AnsweringHarness, previous: str = "") -> Inference:
    """Have an answer that calls a tool."""
    made = await ask(harness, "How is the weather?", previous)
    await harness.inferences.update(
        "acme",
        made.id,
        lambda stored: setattr(stored, "output", (Message(role=Role.ASSISTANT, parts=(CALL,)),)),
        request=asking("calls"),
    )
    return made


async def test_the_record_refers_to_all_turns_and_the_prompt_can_be_shown_again() -> None:
    harness = chatting()
    rules = Message.of(Role.SYSTEM, "Be short.")
    one = await ask(harness, "one", messages=(rules, Message.of(Role.USER, "one")), instructed=True)
    two = await ask(harness, "two", one.id)
    three = await ask(harness, "three", two.id)

    said = harness.engine.says
    assert seen(harness) == ["one", said, "two", said, "three"]
    stored = await harness.stored(three)
    assert stored.history is not None
    assert stored.history.turns == (one.id, two.id)
    assert [each.text for each in stored.messages] == ["three"]
    show = ShowPrompt(
        reading=harness.reading,
        prompts=harness.prompts,
        templates=DirectTemplates(),
        texts=None,  # type: ignore[arg-type] # there are no passages
        conversing=harness.joining(),
    )
    shown = await show(ADA, three.id)
    assert [each.text for each in shown.messages] == seen(harness)


async def test_who_acts_for_users_goes_on_for_the_user_of_the_answer() -> None:
    harness = chatting()
    one = await ask(harness, "one")

    two = await ask(harness, "two", one.id, end_user="")

    assert (await harness.stored(two)).end_user == "u1"


@pytest.mark.parametrize("end_user", ["ben", "u2"])
async def test_answers_of_others_are_as_absent_as_those_that_are_not_there(end_user: str) -> None:
    harness = chatting()
    one = await ask(harness, "one")
    follow = harness.joining()
    deployment = await harness.deployments.get("acme", "helpdesk")
    said = set[str]()
    for previous in (one.id, "none"):
        asked = on("two", previous, end_user=end_user)
        caller = BEN if end_user == "ben" else ADA
        with pytest.raises(PreviousNotFound) as refused:
            await follow.join(caller, asked, deployment, inference_id="i", digest="d")
        said.add(refused.value.message)

    assert len(said) == 1
    for inference in (one.id, "none"):
        with pytest.raises(ResponseNotFound):
            await harness.reading.response(BEN, inference)
        with pytest.raises(InferenceNotFound):
            await erase(harness, inference, BEN)


@pytest.mark.parametrize(
    "changes", [{"store": None}, {"store": False}, {"record": RecordMode.METADATA}, {"record": RecordMode.NONE}]
)
async def test_what_was_not_stored_as_a_response_is_not_gone_on_from(changes: dict[str, object]) -> None:
    harness = chatting()
    one = await ask(harness, "one", "", **changes)

    with pytest.raises(PreviousNotFound):
        await ask(harness, "two", one.id)
    with pytest.raises(ResponseNotFound):
        await harness.reading.response(ADA, one.id)


async def test_an_answer_that_is_in_progress_or_came_to_nothing_is_not_gone_on_from() -> None:
    harness = chatting()
    fresh = reserved(on("one"), inference_id="i", project="acme", request_id="r", digest="d")
    lease = Lease(owner="me", epoch=1, until=harness.clock.now() + timedelta(seconds=9))
    variant = Variant(name="live", configuration="c", model="m@1", prompt="p@1")
    await harness.inferences.upsert(
        fresh, lambda each: each.reserve(lease, fresh, variant=variant, now=harness.clock.now()), request=asking("r")
    )

    with pytest.raises(QuestionRefused, match="RESERVED"):
        await ask(harness, "two", "i")
    assert (await harness.reading.response(ADA, "i")).state is State.RESERVED
    await erase(harness, "i")
    assert (await harness.inferences.get("acme", "i")).state is State.CANCELLED


async def test_results_go_on_from_the_calls_of_the_answer_before_and_from_no_others() -> None:
    harness = chatting()
    called = await calling(harness)

    await ask(harness, "", called.id, messages=(RESULT, Message.of(Role.USER, "So?")))
    assert [each.role for each in harness.engine.seen[-1].messages] == [
        *(Role.USER, Role.ASSISTANT, Role.TOOL, Role.USER),
    ]
    other = replace(RESULT, parts=(Part(tool_result=ToolResult(id="c2", text="calm")),))
    with pytest.raises(QuestionRefused, match=r"messages\[0\].*'c2'"):
        await ask(harness, "other", called.id, messages=(other,))


async def test_turns_that_were_erased_are_left_out_with_the_results_of_their_calls() -> None:
    harness = chatting()
    one = await ask(harness, "one")
    called = await calling(harness, one.id)
    result = await ask(harness, "result", called.id, messages=(RESULT,))
    last = await ask(harness, "last", result.id)
    await erase(harness, called.id)

    answer = await ask(harness, "on", last.id)

    said = harness.engine.says
    assert seen(harness) == ["one", said, "last", said, "on"]
    assert answer.warnings == ("history cut: 2 earlier turns are not given to the model",)


async def test_too_many_turns_are_refused_or_cut_and_none_beyond_the_limit_are_read() -> None:
    harness = chatting()
    harness.answer = replace(harness.answer, conversing=harness.joining(max_turns=2))
    one = await ask(harness, "one")
    two = await ask(harness, "two", one.id)
    three = await ask(harness, "three", two.id)

    with pytest.raises(QuestionRefused, match="has 3 turns, and the limit is 2"):
        await ask(harness, "four", three.id)
    await ask(harness, "four", three.id, cuttable=True)
    assert seen(harness)[:3:2] == ["two", "three"]


async def test_turns_that_do_not_fit_are_an_error_unless_they_may_be_cut() -> None:
    harness = chatting()
    one = await ask(harness, "one two three four")
    harness.engine.context_tokens = 8

    with pytest.raises(PromptTooLong):
        await ask(harness, "on", one.id)
    answer = await ask(harness, "on", one.id, cuttable=True)
    assert seen(harness) == ["on"]
    assert answer.warnings == ("history cut: the oldest 1 of 1 turns did not fit the model",)


async def test_a_question_goes_on_from_an_answer_or_in_a_conversation() -> None:
    harness = chatting()

    with pytest.raises(QuestionRefused, match="previous"):
        await ask(harness, "two", "i", conversation="c1")


async def test_erasing_again_has_no_second_effect_and_a_check_erases_nothing() -> None:
    harness = chatting()
    one = await ask(harness, "one")
    erasing = EraseInference(inferences=harness.inferences, clock=harness.clock)

    await erasing(ADA, one.id, writing("check", validate_only=True))
    assert (await harness.stored(one)).messages
    await erasing(ADA, one.id, writing("e"))
    await erasing(ADA, one.id, writing("e"))
    assert (await harness.stored(one)).messages == ()


def test_over_grpc_the_same_is_asked_by_fields_of_the_request() -> None:
    said = content_pb2.Message(role=content_pb2.ROLE_USER, parts=[content_pb2.Part(text="two")])
    request = pb.GenerateRequest(deployment="helpdesk", messages=[said])

    plain = question_of(request)
    request.previous_inference, request.truncate_history, request.store = "i", True, False
    asked = question_of(request)

    assert (plain.store, plain.previous, plain.cuttable) == (None, "", False)
    assert (asked.store, asked.previous, asked.cuttable) == (False, "i", True)
