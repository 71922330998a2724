"""What OpenAI's own client asks for reaches a model behind an OpenAI-compatible endpoint, and its answers come back."""

import json
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from services.inference.tests.engines.openai_server import (
    USAGE,
    chunk,
    says,
    streams,
)
from services.inference.tests.openai_api.provided import WEATHER, provider, weather

ASKED: Any = [{"role": "user", "content": "How is the weather at sea?"}]


def choice(index: int, delta: dict[str, Any], *, finish: str | None = None, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return chunk() | {"choices": [{"index": index, "delta": delta, "finish_reason": finish, **more}]}


async def test_a_loop_with_tools_ends_with_an_answer_that_rests_on_their_results() -> None:
    async with provider(weather) as (server, api):
        messages: Any = list(ASKED)
        called = await api.openai.chat.completions.create(model="helpdesk", messages=messages, tools=[WEATHER])
        answer = called.choices[0].message
        messages.append(answer)  # as every example does
        assert answer.tool_calls is not None
        for call in answer.tool_calls:
            assert call.type == "function"
            at = json.loads(call.function.arguments)["at"]
            messages.append({"role": "tool", "tool_call_id": call.id, "content": f"calm at {at}"})
        said = await api.openai.chat.completions.create(model="helpdesk", messages=messages, tools=[WEATHER])

    assert (called.choices[0].finish_reason, answer.content) == ("tool_calls", None)
    assert said.choices[0].message.content == "calm at sea and calm at land"
    first, second = server.asked
    assert first["tools"] == [WEATHER]
    assert [each["role"] for each in second["messages"]][-3:] == ["assistant", "tool", "tool"]
    assert second["messages"][-3]["tool_calls"][0] == {
        "id": "c1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"at": "sea"}'},
    }


async def test_tool_calls_are_streamed_as_they_come() -> None:
    async with provider(weather) as (_, api):
        async with api.openai.chat.completions.stream(model="helpdesk", messages=ASKED, tools=[WEATHER]) as stream:
            async for _event in stream:
                pass
            final = await stream.get_final_completion()
        chunks = await api.openai.chat.completions.create(
            model="helpdesk", messages=ASKED, tools=[WEATHER], stream=True
        )
        calls = [call async for each in chunks for call in each.choices[0].delta.tool_calls or ()]

    made = final.choices[0].message.tool_calls
    assert made is not None
    assert [(each.id, each.function.arguments) for each in made] == [("c1", '{"at": "sea"}'), ("c2", '{"at": "land"}')]
    assert final.choices[0].finish_reason == "tool_calls"
    assert [(each.index, each.id) for each in calls if each.id] == [(0, "c1"), (1, "c2")]
    assert all(each.function and each.function.name == "weather" for each in calls if each.id)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"tool_choice": "required"}, {"tool_choice": "required"}),
        ({"tool_choice": "none"}, {"tool_choice": "none"}),
        ({"tool_choice": "auto"}, {}),
        ({"tool_choice": {"type": "function", "function": {"name": "weather"}}}, None),
        ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
    ],
)
async def test_how_tools_are_chosen_is_passed_on(given: dict[str, Any], sent: dict[str, Any] | None) -> None:
    async with provider(weather) as (server, api):
        await api.openai.chat.completions.create(model="helpdesk", messages=ASKED, tools=[WEATHER], **given)

    names = ("tool_choice", "parallel_tool_calls")
    assert {name: server.asked[0][name] for name in names if name in server.asked[0]} == (
        given if sent is None else sent
    )


class Report(BaseModel):
    place: str
    degrees: int


async def test_an_answer_by_a_schema_is_parsed_by_the_client() -> None:
    async with provider(weather) as (server, api):
        answer = await api.openai.chat.completions.parse(model="helpdesk", messages=ASKED, response_format=Report)
        plain = await api.openai.chat.completions.create(
            model="helpdesk", messages=ASKED, response_format={"type": "json_object"}
        )

    assert answer.choices[0].message.parsed == Report(place="sea", degrees=4)
    assert plain.choices[0].message.content == '{"place": "sea", "degrees": 4}'
    sent = server.asked[0]["response_format"]["json_schema"]
    assert (sent["name"], sent["strict"], sorted(sent["schema"]["properties"])) == (
        "Report",
        True,
        ["degrees", "place"],
    )
    assert server.asked[1]["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "object", "properties": {"a": {"type": "strin"}}}, "$.properties.a.type"),
        ({"properties": {"a": {"$ref": "#/$defs/b"}}}, "leads nowhere"),
        ({"properties": {"a": {"$ref": "https://elsewhere.example/x"}}}, "leads out of the schema"),
    ],
)
async def test_a_schema_that_is_none_is_refused_with_its_place(schema: dict[str, Any], why: str) -> None:
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": schema}}
    form: Any = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    async with provider(weather) as (server, api):
        with pytest.raises(openai.BadRequestError) as of_tool:
            await api.openai.chat.completions.create(model="helpdesk", messages=ASKED, tools=[WEATHER, tool])
        with pytest.raises(openai.BadRequestError) as of_format:
            await api.openai.chat.completions.create(model="helpdesk", messages=ASKED, response_format=form)

    assert (of_tool.value.param, of_format.value.param) == (
        "tools[1].function.parameters",
        "response_format.json_schema.schema",
    )
    assert why in of_tool.value.message
    assert why in of_format.value.message
    assert server.asked == []


async def test_several_answers_come_with_their_log_probabilities() -> None:
    sunny = {"token": "sunny", "logprob": -0.25, "bytes": list(b"sunny"), "top_logprobs": []}
    calm = {"token": "calm", "logprob": -1.5, "bytes": None}
    events = (
        choice(0, {"content": "sunny"}, logprobs={"content": [sunny]}),
        choice(1, {"content": "calm"}, logprobs={"content": [calm | {"top_logprobs": [sunny, calm]}]}),
        choice(1, {}, finish="length"),
        choice(0, {}, finish="stop"),
        USAGE,
    )
    given: dict[str, Any] = {
        "n": 2,
        "logprobs": True,
        "top_logprobs": 2,
        "logit_bias": {"5": -100},
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "seed": 3,
        "stop": ["END"],
    }
    async with provider(streams(*events)) as (server, api):
        answer = await api.openai.chat.completions.create(model="helpdesk", messages=ASKED, **given)
        chunks = await api.openai.chat.completions.create(model="helpdesk", messages=ASKED, stream=True, **given)
        streamed = [each async for each in chunks]

    first, second = answer.choices
    assert [(each.message.content, each.finish_reason) for each in (first, second)] == [
        ("sunny", "stop"),
        ("calm", "length"),
    ]
    assert first.logprobs is not None
    assert first.logprobs.content is not None
    assert (first.logprobs.content[0].logprob, first.logprobs.content[0].bytes) == (-0.25, list(b"sunny"))
    assert second.logprobs is not None
    assert second.logprobs.content is not None
    assert [each.token for each in second.logprobs.content[0].top_logprobs] == ["sunny", "calm"]
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (12, 3)
    assert {name: server.asked[0].get(name) for name in given} == given
    texts = {0: "", 1: ""}
    for each in streamed:
        texts[each.choices[0].index] += each.choices[0].delta.content or ""
    assert texts == {0: "sunny", 1: "calm"}
    assert [each.choices[0].index for each in streamed if each.choices[0].logprobs] == [0, 1]
    assert [each.choices[0].finish_reason for each in streamed if each.choices[0].finish_reason] == ["length", "stop"]


async def test_what_a_model_thinks_is_passed_on_apart_from_what_it_says() -> None:
    thinks = choice(0, {"reasoning_content": "hm"})
    async with provider(streams(thinks, chunk("calm"), chunk(finish="stop"), USAGE)) as (_, api):
        answer = (await api.openai.chat.completions.create(model="helpdesk", messages=ASKED)).choices[0].message

    assert (answer.content, (answer.model_extra or {})["reasoning_content"]) == ("calm", "hm")


async def test_a_parameter_that_the_endpoint_does_not_support_is_named_as_the_caller_named_it() -> None:
    said = {"error": {"message": "'logprobs' is not supported with this model", "param": "logprobs"}}
    async with provider(says(400, json.dumps(said), headers={"content-type": "application/json"})) as (_, api):
        with pytest.raises(openai.BadRequestError) as refused:
            await api.openai.chat.completions.create(model="helpdesk", messages=ASKED, logprobs=True)

    assert (refused.value.param, refused.value.code) == ("logprobs", "capability_missing")
