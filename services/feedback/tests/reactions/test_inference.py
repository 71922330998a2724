"""What feedback reads of inference's answers, from a real server on a free port."""

from collections.abc import AsyncIterator

import grpc
import pytest

from services.feedback.tests.builders import ADA, EVE
from services.feedback.tests.inference_server import InferenceServer
from tidemill.content.v1 import content_pb2
from tidemill.inference.v1 import inference_pb2
from tidemill_core.errors import NotFound, PreconditionFailed
from tidemill_feedback.curations.domain.example import PassageUse, Turn
from tidemill_feedback.curations.inference import InferencePrompts
from tidemill_feedback.errors import ConversationUnknown, InferenceUnknown
from tidemill_feedback.reactions.inference import InferenceAnswers
from tidemill_testkit.access import service_channel


@pytest.fixture
async def inference() -> AsyncIterator[InferenceServer]:
    server = InferenceServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def channel(inference: InferenceServer) -> AsyncIterator[grpc.aio.Channel]:
    async with service_channel("feedback", inference.address, name="inference") as channel:
        yield channel


async def test_an_answer_reports_whose_it_is_and_whether_it_counts(
    inference: InferenceServer, channel: grpc.aio.Channel
) -> None:
    inference.put("i1", project="acme", end_user="u1", output="An answer.")
    inference.put("i2", project="acme", purpose=inference_pb2.PURPOSE_SHADOW)
    inference.put("i3", project="acme", state=inference_pb2.INFERENCE_STATE_RESERVED)
    answers = InferenceAnswers(channel)

    answer = await answers.answer(ADA, "i1")

    assert (answer.inference, answer.deployment, answer.end_user, answer.output) == (
        "i1",
        "helpdesk",
        "u1",
        "An answer.",
    )
    assert (answer.variant, answer.rollout, answer.live, answer.completed) == ("candidate", "r1", True, True)
    assert not (await answers.answer(ADA, "i2")).live
    assert not (await answers.answer(ADA, "i3")).completed
    with pytest.raises(InferenceUnknown):
        await answers.answer(EVE, "i1")


async def test_the_answer_of_a_conversation_is_the_last_that_is_completed(
    inference: InferenceServer, channel: grpc.aio.Channel
) -> None:
    completed, reserved = inference_pb2.INFERENCE_STATE_COMPLETED, inference_pb2.INFERENCE_STATE_RESERVED
    inference.put("c1/2", project="acme")
    inference.conversations.turns["acme", "c1"] = [completed, completed, reserved]
    inference.conversations.turns["acme", "c2"] = [reserved]
    answers = InferenceAnswers(channel)

    assert (await answers.answer(ADA, "conversation:c1")).inference == "c1/2"
    for caller, target in ((ADA, "conversation:c2"), (ADA, "conversation:c3"), (EVE, "conversation:c1")):
        with pytest.raises(ConversationUnknown):
            await answers.answer(caller, target)


async def test_a_prompt_is_what_the_model_saw_with_its_passages_by_span(
    inference: InferenceServer, channel: grpc.aio.Channel
) -> None:
    inference.put("i1", project="acme")
    answers = InferencePrompts(channel)

    prompt = await answers.prompt(ADA, "i1")

    assert prompt.question == "What is i1?"
    assert prompt.messages == (Turn(role="system", text="Answer."), Turn(role="user", text="What is i1?"))
    assert (prompt.earlier, prompt.variables) == ((Turn(role="user", text="Hello"),), {"product": "topic"})
    assert (prompt.principals, prompt.answer) == (("staff",), "It is wrong.")
    assert prompt.passages == (PassageUse(id="1", document="d1", version=2, start=3, end=9, source="cms", key="kb/1"),)
    with pytest.raises(NotFound):
        await answers.prompt(ADA, "nope")


async def test_json_is_an_answers_text_and_an_answer_that_uses_tools_is_no_example(
    inference: InferenceServer, channel: grpc.aio.Channel
) -> None:
    call = content_pb2.ToolCall(id="c1", name="look", arguments_json="{}")
    inference.put("i1", project="acme", output=content_pb2.Part(json='{"a": 1}'))
    inference.put("i2", project="acme", output=content_pb2.Part(tool_call=call))
    prompts = InferencePrompts(channel)

    assert (await prompts.prompt(ADA, "i1")).answer == '{"a": 1}'
    assert (await InferenceAnswers(channel).answer(ADA, "i1")).output == '{"a": 1}'
    with pytest.raises(PreconditionFailed) as refused:
        await prompts.prompt(ADA, "i2")
    assert refused.value.reason == "ANSWER_USES_TOOLS"
