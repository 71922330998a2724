"""What requests of the Responses API ask for, and what is refused of them, by the caller's own names."""

import json
from typing import Any

import pytest

from tidemill_core.errors import InvalidInput
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.generation.domain.content import Message, Role
from tidemill_inference.generation.domain.question import Question
from tidemill_inference.generation.domain.tools import ToolMode
from tidemill_inference.openai_api.responses.ids import ABSENT, inference_id, response_id
from tidemill_inference.openai_api.responses.requests import ResponseRequest, response_request_of
from tidemill_inference.openai_api.schemas import chat_request_of

TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": True}
CALL = {
    "type": "function_call",
    "call_id": "c1",
    "name": "look",
    "arguments": "{}",
    "id": "fc_1",
    "status": "completed",
}
INPUT = "input[0].content[0].type"
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "calm"}


def read(**given: object) -> ResponseRequest:
    return response_request_of(json.dumps({"model": "helpdesk", "input": "hello", **given}).encode())


def question(**given: object) -> Question:
    return read(**given).question()


def refused(**given: object) -> dict[str, str]:
    with pytest.raises(InvalidInput) as error:
        read(**given)
    return {each.field: each.description for each in error.value.violations}


def said(messages: tuple[Message, ...]) -> list[tuple[str, str, int]]:
    return [(each.role.value, each.text, len(each.tool_calls)) for each in messages]


def test_parameters_mean_what_those_of_chats_do() -> None:
    asked = question(
        instructions="Be short.",
        temperature=0.5,
        top_p=0.9,
        top_logprobs=2,
        max_output_tokens=50,
        metadata={"team": "sea"},
        user="ada",
        tools=[TOOL],
        tool_choice={"type": "function", "name": "look"},
        parallel_tool_calls=False,
        text={"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}, "strict": True}},
        tidemill={"variables": {"a": 1}, "principals": ["group:x"]},
    )
    chat = chat_request_of(
        json.dumps(
            {
                "model": "helpdesk",
                "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "hello"}],
                "temperature": 0.5,
                "top_p": 0.9,
                "logprobs": True,
                "top_logprobs": 2,
                "max_completion_tokens": 50,
                "metadata": {"team": "sea"},
                "user": "ada",
                "tools": [{"type": "function", "function": {n: v for n, v in TOOL.items() if n != "type"}}],
                "tool_choice": {"type": "function", "function": {"name": "look"}},
                "parallel_tool_calls": False,
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "a", "schema": {"type": "object"}, "strict": True},
                },
                "tidemill": {"variables": {"a": 1}, "principals": ["group:x"]},
            }
        ).encode()
    ).question()

    assert (asked.store, asked.instructed) == (True, True)
    names = ("messages", "sampling", "tools", "tool_choice", "output", "labels", "end_user", "variables", "principals")
    assert {name: getattr(asked, name) for name in names} == {name: getattr(chat, name) for name in names}


def test_items_come_to_messages_as_chats_have_them() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}
    answer = {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "let me look", "annotations": [], "logprobs": []}],
    }
    asked = question(
        input=[
            {"role": "developer", "content": "Be short."},
            {"role": "user", "content": [{"type": "input_text", "text": "one"}, {"type": "input_text", "text": "two"}]},
            thought,
            answer,
            CALL,
            {**CALL, "call_id": "c2"},
            OUTPUT,
            {**OUTPUT, "call_id": "c2", "output": [{"type": "input_text", "text": "rough"}]},
            {"role": "assistant", "content": "calm"},
            {"role": "assistant", "content": "or rough"},
            {"type": "reasoning", "id": "rs_2", "summary": [{"type": "summary_text", "text": "?"}]},
            {"role": "user", "content": "so?"},
        ]
    )

    assert said(asked.messages) == [
        ("system", "Be short.", 0),
        ("user", "one\ntwo", 0),
        ("assistant", "let me look", 2),
        ("tool", "calm", 0),
        ("tool", "rough", 0),
        ("assistant", "calm", 0),
        ("assistant", "or rough", 0),
        ("user", "so?", 0),
    ]
    assert asked.messages[2].reasoning == "hm"
    asked.check()


@pytest.mark.parametrize(
    ("given", "field", "why"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0]", "web_search"),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["v"]}]}, "tools[0]", "no tool runs here"),
        ({"background": True}, "background", ""),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "u"}]}]}, INPUT, "input_image"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, INPUT, "input_file"),
        ({"input": [{"type": "item_reference", "id": "i"}]}, "input[0].type", "item_reference"),
        ({"input": [{"type": "computer_call_output", "output": {}}]}, "input[0].type", "computer_call_output"),
        ({"input": ["hello"]}, "input[0].type", "no item"),
        ({"input": None}, "input", "is required"),
        ({"input": [{**OUTPUT, "call_id": ""}]}, "input[0].call_id", ""),
        ({"input": [{"role": "user", "content": "a"}] * 1001}, "input", "1001"),
        ({"conversation": "conv_1"}, "conversation", "tidemill.conversation"),
        ({"prompt": {"id": "p"}}, "prompt", "tidemill.variables"),
        ({"max_tool_calls": 3}, "max_tool_calls", "not supported"),
        ({"messages": []}, "messages", "chat/completions"),
        ({"n": 2}, "n", "chat/completions"),
        ({"stop": ["x"]}, "stop", "chat/completions"),
        ({"max_tokens": 5}, "max_tokens", "chat/completions"),
        ({"response_format": {"type": "text"}}, "response_format", "chat/completions"),
        ({"include": ["file_search_call.results"]}, "include[0]", "file_search_call.results"),
        ({"truncation": "never"}, "truncation", "never"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type", "xml"),
        ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema", ""),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice", "is none that is supported"),
        ({"max_output_tokens": 2**40}, "max_output_tokens", ""),
        ({"temperature": "hot"}, "temperature", ""),
        ({"service_tier": "flex"}, "service_tier", "default"),
        ({"store": False, "tidemill": {"record_mode": "full"}}, "store", "record_mode"),
        ({"nonsense": 1}, "nonsense", "supported are input"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(given: dict[str, Any], field: str, why: str) -> None:
    found = refused(**given)

    assert field in found
    assert why in found[field]


def test_all_that_is_wrong_is_said_at_once() -> None:
    found = refused(background=True, n=2, temperature="hot", nonsense=1, input=[{"type": "item_reference", "id": "i"}])

    assert set(found) == {"background", "n", "temperature", "nonsense", "input[0].type"}


def test_hints_and_what_changes_nothing_are_accepted() -> None:
    asked = question(
        reasoning={"effort": "low"},
        text={"verbosity": "low"},
        include=["reasoning.encrypted_content"],
        service_tier="auto",
        background=False,
        prompt_cache_key="k",
        stream_options={"include_obfuscation": False},
        previous_response_id=None,
    )

    assert (asked.sampling.logprobs, asked.previous, asked.tool_choice.mode) == (None, "", ToolMode.AUTO)


@pytest.mark.parametrize(
    ("field", "sent"),
    [
        ("messages[0]", "instructions"),
        ("messages[1].parts", "input[0].content"),
        ("messages[2]", "input[1]"),
        ("messages", "input"),
        ("sampling.max_output_tokens", "max_output_tokens"),
        ("sampling.top_p", "top_p"),
        ("output_format.schema_json", "text.format.schema"),
        ("output_format", "text.format"),
        ("tools[1].name", "tools[1].name"),
        ("tools[1].parameters_json", "tools[1].parameters"),
        ("previous_inference", "previous_response_id"),
        ("labels", "metadata"),
        ("conversation", "tidemill.conversation"),
    ],
)
def test_errors_are_in_the_callers_words(field: str, sent: str) -> None:
    asked = read(instructions="Be short.", input=[{"role": "user", "content": "a"}, CALL, CALL, OUTPUT])

    blamed = asked.blamed(InvalidInput.at(field=field, text="send a lower max_output_tokens"))

    assert [(each.field, each.description) for each in blamed.violations] == [(sent, "send a lower max_output_tokens")]


def test_without_store_the_record_mode_is_left_to_the_deployment_where_it_is_lower() -> None:
    assert question(store=False).store is False
    assert question(store=False, tidemill={"record_mode": "none"}).record is RecordMode.NONE


def test_an_id_is_that_of_the_inference_and_what_is_no_id_names_none() -> None:
    inference = "0761a949-b23f-5360-b10f-2008319463c9"

    assert response_id(inference) == "resp_0761a949b23f5360b10f2008319463c9"
    assert inference_id(response_id(inference)) == inference
    for wrong in ("", inference, "resp_1", response_id(inference) + "0", response_id(inference).upper()):
        assert inference_id(wrong) == ABSENT


def test_a_text_is_a_message_of_the_user() -> None:
    assert question().messages == (Message.of(Role.USER, "hello"),)


@pytest.mark.parametrize("name", ["tools", "include"])
def test_a_list_of_very_many_wrong_things_is_refused_by_the_first(name: str) -> None:
    assert len(refused(**{name: [0] * 10_000})) == 1
