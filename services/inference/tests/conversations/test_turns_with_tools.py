"""Turns in which a model calls tools, and what is given of them to the next ones."""

import pytest

from services.inference.tests.conversations.test_join import ask, chatting, seen, turns
from services.inference.tests.fakes import AnsweringHarness, ScriptedEngine
from tidemill_inference.conversations.domain.policy import ConversationPolicy
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.engines.ports import Finish, ToolCallPiece
from tidemill_inference.generation.domain.content import Message, Part, Role, ToolResult
from tidemill_inference.generation.domain.errors import QuestionRefused
from tidemill_inference.generation.domain.tools import Tool

FINDS = Tool(name="look_up")


CALLS = (
    ToolCallPiece(index=0, id="call-1", name="look_up", arguments="{}"),
    Finish(reason="tool_calls", input_tokens=1, output_tokens=1),
)


def result(call: str = "call-1") -> tuple[Message, ...]:
    return (Message(role=Role.TOOL, parts=(Part(tool_result=ToolResult(id=call, text="Blue.")),)),)


async def calling(harness: AnsweringHarness) -> None:
    """Have the second turn call a tool."""
    await ask(harness, "one")
    harness.engine.yields = CALLS
    await ask(harness, "Which colour?", tools=(FINDS,))
    harness.engine.yields = ()


async def test_a_turn_with_the_result_of_a_call_goes_on_from_the_turn_that_made_the_call() -> None:
    harness = chatting()
    await calling(harness)

    await ask(harness, "result", messages=result(), tools=(FINDS,))

    roles = [message.role for message in harness.engine.seen[-1].messages]
    assert roles == [Role.USER, Role.ASSISTANT, Role.USER, Role.ASSISTANT, Role.TOOL]
    assert seen(harness)[2] == "Which colour?"
    await ask(harness, "Thanks.")
    assert len(await turns(harness)) == 4


async def test_the_result_of_a_call_that_no_turn_made_is_refused_and_takes_no_place() -> None:
    harness = chatting()
    await calling(harness)

    with pytest.raises(QuestionRefused, match="'call-2'"):
        await ask(harness, "result", messages=result("call-2"), tools=(FINDS,))

    assert len(await turns(harness)) == 2


async def test_what_is_cut_leaves_neither_a_result_without_its_call_nor_a_call_without_its_question() -> None:
    harness = chatting(conversation=ConversationPolicy(max_turns=2))
    await calling(harness)
    await ask(harness, "result", messages=result(), tools=(FINDS,))
    await ask(harness, "Thanks.")

    answer = await ask(harness, "Bye.", tools=(FINDS,))
    assert [message.role for message in harness.engine.seen[-1].messages] == [Role.USER, Role.ASSISTANT, Role.USER]
    assert answer.warnings == ("history cut: 3 earlier turns are not given to the model",)

    narrow = chatting(ScriptedEngine(says="word " * 9), conversation=ConversationPolicy(max_turns=9))
    await calling(narrow)
    narrow.engine.context_tokens = 12
    await ask(narrow, "result", messages=result(), tools=(FINDS,), sampling=Sampling(max_output_tokens=1))
    assert [message.role for message in narrow.engine.seen[-1].messages] == [Role.USER, Role.ASSISTANT, Role.TOOL]
