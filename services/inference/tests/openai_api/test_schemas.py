"""What the OpenAI-compatible API takes, and what it refuses by name."""

import json
from typing import Any

import pytest

from services.inference.tests.openai_api.apis import BODY, QUESTION, ScriptedAnswers, open_api
from tidemill_core.errors import InvalidInput, Violation
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.generation.domain.content import Message, Role, ToolCall, ToolResult
from tidemill_inference.generation.domain.tools import OutputFormat, Tool, ToolChoice, ToolMode
from tidemill_inference.openai_api.intents import request_of
from tidemill_inference.openai_api.schemas import chat_request_of

CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"at": "sea"}'}}
TOOL = {"type": "function", "function": {"name": "weather"}}


def body(**changes: object) -> bytes:
    return json.dumps({**BODY, **changes}).encode()


def refused(**changes: object) -> dict[str, str]:
    with pytest.raises(InvalidInput) as error:
        chat_request_of(body(**changes))
    return {violation.field: violation.description for violation in error.value.violations}


def test_a_request_becomes_a_question_with_all_that_it_says() -> None:
    question = chat_request_of(
        body(
            messages=[
                {"role": "developer", "content": "Be brief."},
                {"role": "assistant", "content": "Hello.", "refusal": None, "tool_calls": None},
                {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "two"}]},
            ],
            user="u-1",
            metadata={"cohort": "a"},
            temperature=0,
            top_p=0.5,
            max_completion_tokens=9,
            seed=7,
            stop="END",
            tidemill={"variables": {"tone": "kind"}, "principals": ["group:support"], "record_mode": "none"},
        )
    ).question()

    assert [message.role for message in question.messages] == [Role.SYSTEM, Role.ASSISTANT, Role.USER]
    assert question.text == "One\ntwo"
    assert (question.deployment, question.end_user, question.labels) == ("helpdesk", "u-1", {"cohort": "a"})
    assert question.sampling == Sampling(temperature=0, top_p=0.5, max_output_tokens=9, seed=7, stop=("END",))
    assert (question.variables, question.principals) == ({"tone": "kind"}, ("group:support",))
    assert question.record is RecordMode.NONE


@pytest.mark.parametrize("name", ["user", "safety_identifier"])
def test_both_names_of_the_person_who_asks_are_taken(name: str) -> None:
    assert chat_request_of(body(**{name: "u-1"})).question().end_user == "u-1"


def test_what_the_client_does_not_set_is_left_to_the_deployment() -> None:
    question = chat_request_of(body(temperature=None, stop=None, metadata=None, stream_options=None)).question()

    assert question.sampling == Sampling()
    assert question.record is None


@pytest.mark.parametrize(
    "harmless",
    [
        {"n": 1},
        {"store": False},
        {"logprobs": False},
        {"response_format": {"type": "text"}},
        {"store": True, "tool_choice": "auto"},
        {"tools": None, "logit_bias": None, "audio": None},
        {"service_tier": "auto"},
        {"tools": [], "tool_choice": "auto", "parallel_tool_calls": False},
        {"functions": [], "function_call": "auto"},
        {"logprobs": False, "top_logprobs": 0},
        {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "chat_template_kwargs": {}},
        {"reasoning_effort": "low", "verbosity": "high", "prompt_cache_key": "k"},
        {"thinking": {"type": "disabled"}, "reasoning": {"effort": "low"}, "priority": 0, "keep_alive": "5m"},
        {"stop_token_ids": [], "bad_words": [], "add_generation_prompt": True, "prompt_logprobs": 0},
        {"provider": {}, "plugins": [], "repeat_penalty": 1.0, "mirostat": 0},
        {"max_tokens": -1},
        {"stop": ""},
        {"messages": [{"role": "user", "content": QUESTION, "refusal": None, "cache_control": {"type": "ephemeral"}}]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": QUESTION, "cache_control": {"type": "ephemeral"}}],
                }
            ]
        },
    ],
)
def test_a_parameter_that_changes_nothing_is_taken(harmless: dict[str, object]) -> None:
    assert chat_request_of(body(**harmless)).question() == chat_request_of(body()).question()


@pytest.mark.parametrize("options", [{}, {"include_usage": False, "continuous_usage_stats": False}])
def test_options_of_a_stream_that_change_nothing_are_taken_without_one(options: dict[str, object]) -> None:
    assert chat_request_of(body(stream_options=options)).question() == chat_request_of(body()).question()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("best_of", 2),
        ("echo", 0),
        ("functions", [{"name": "f"}]),
        ("audio", {"voice": "alloy", "format": "mp3"}),
        ("modalities", ["text", "audio"]),
        ("top_k", 40),
        ("web_search_options", {}),
        ("temprature", 0.2),
    ],
)
async def test_a_parameter_that_is_not_supported_is_refused_by_name(name: str, value: object) -> None:
    answers = ScriptedAnswers()
    async with open_api(answers) as api:
        response = await api.http.post("/v1/chat/completions", content=body(**{name: value}))

    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (400, name, "unsupported_parameter")
    assert "not supported" in error["message"]
    assert answers.asked == []


def test_everything_that_is_wrong_is_reported_at_once() -> None:
    assert set(refused(tools=[{}], temperature="hot", max_tokens=1.5, model="", stream="yes")) == {
        "tools[0].type",
        "tools[0].function",
        "temperature",
        "max_tokens",
        "model",
        "stream",
    }


@pytest.mark.parametrize(
    ("messages", "field", "why"),
    [
        ([{"role": "function", "content": "x"}], "messages[0].role", "'developer'"),
        ([{"role": "tool", "content": "x"}], "messages[0].tool_call_id", "is required"),
        ([{"role": "user", "content": "x", "tool_call_id": "c"}], "messages[0].tool_call_id", "role tool only"),
        ([{"role": "user", "content": "x", "tool_calls": [CALL]}], "messages[0].tool_calls", "role assistant only"),
        ([{"role": "user"}], "messages[0].content", "is required"),
        ([{"role": "user", "content": 5}], "messages[0].content", "list"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content[0].type", "supported: 'text'"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "messages[0].content[0].type", "is input_audio"),
        (
            [{"role": "assistant", "tool_calls": [{**CALL, "type": "custom"}]}],
            "messages[0].tool_calls[0].type",
            "custom",
        ),
        ([{"role": "assistant", "content": "x", "tool_calls": [1]}], "messages[0].tool_calls[0]", "dictionary"),
    ],
)
def test_a_message_that_cannot_be_taken_is_named_by_its_place(messages: list[Any], field: str, why: str) -> None:
    assert why in refused(messages=messages)[field]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"user": "ada", "safety_identifier": "bob"}, "user"),
        ({"n": True}, "n"),
        ({"store": 0}, "store"),
        ({"tool_choice": "some"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {}}}, "tool_choice"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
            "response_format.json_schema.schema",
        ),
        ({"logit_bias": {"the": 5}}, "logit_bias"),
        ({"seed": 2**63}, "seed"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k"),
        ({"metadata": {str(number): "v" for number in range(17)}}, "metadata"),
        ({"tidemill": {"variant": "b"}}, "tidemill.variant"),
        ({"tidemill": {"record_mode": "most"}}, "tidemill.record_mode"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, object], field: str) -> None:
    assert field in refused(**changes)


@pytest.mark.parametrize("given", [b"", b"{", b"[]", b'"text"', b'{"model": NaN}', b"\xff", b"[" * 4000])
async def test_a_body_that_is_no_json_object_is_refused(given: bytes) -> None:
    async with open_api(ScriptedAnswers()) as api:
        response = await api.http.post("/v1/chat/completions", content=given)

    assert (response.status_code, response.json()["error"]["param"]) == (400, "body")


@pytest.mark.parametrize(("surplus", "status"), [(0, 200), (1, 413)])
async def test_a_body_is_taken_up_to_the_limit(surplus: int, status: int) -> None:
    given = body().ljust(4096 + surplus)
    async with open_api(ScriptedAnswers()) as api:
        response = await api.http.post("/v1/chat/completions", content=given)

    assert response.status_code == status


async def test_what_the_use_case_refuses_is_named_as_the_caller_named_it() -> None:
    async with open_api(ScriptedAnswers()) as api:
        too_hot = await api.ask(temperature=3)
        too_few = await api.ask(max_tokens=0)
        nothing = await api.ask(messages=[])
    denied = InvalidInput.of(Violation(field="sampling", description="cannot be overridden"))
    async with open_api(ScriptedAnswers(denied)) as api:
        overridden = await api.ask(temperature=0.5, seed=3)
    async with open_api(ScriptedAnswers(InvalidInput.of(Violation(field="labels", description="no")))) as api:
        labelled = await api.ask(metadata={"$a": "b"})

    params = [each.json()["error"]["param"] for each in (too_hot, too_few, nothing, overridden, labelled)]
    assert params == ["temperature", "max_tokens", "messages", "temperature, seed", "metadata"]


async def test_the_idempotency_key_is_the_request_id() -> None:
    answers = ScriptedAnswers()
    async with open_api(answers) as api:
        first = await api.ask(headers={"Idempotency-Key": "k-1"})
        again = await api.ask(headers={"Idempotency-Key": "k-1"}, stream=True)
        without = [(await api.ask()).json()["id"] for _ in range(2)]
        too_long = await api.ask(headers={"Idempotency-Key": "k" * 129})

    assert first.json()["id"] in again.text
    assert len({first.json()["id"], *without}) == 3
    one, same = (request for _caller, _question, request in answers.asked[:2])
    assert one == same
    assert (too_long.status_code, too_long.json()["error"]["param"]) == (400, "Idempotency-Key")


async def test_an_answer_is_asked_for_anew_by_a_field_or_by_the_header_of_http() -> None:
    answers = ScriptedAnswers()
    async with open_api(answers) as api:
        key = {"Idempotency-Key": "k-1"}
        await api.ask(headers=key)
        await api.ask(headers={**key, "Cache-Control": "max-age=0, no-cache"})
        await api.ask(headers=key, tidemill={"no_cache": True})

    assert [question.no_cache for _caller, question, _request in answers.asked] == [False, True, True]
    assert len({request for _caller, _question, request in answers.asked}) == 1


def test_another_question_under_the_same_key_has_another_digest() -> None:
    one, other = (chat_request_of(body(user=user)).question() for user in ("ada", "bob"))

    assert request_of("k", one).digest == request_of("k", one).digest != request_of("k", other).digest
    assert QUESTION not in request_of("k", one).digest


def test_without_a_key_nothing_is_digested_as_no_caller_can_repeat_the_request() -> None:
    asked = chat_request_of(body()).question()

    one, other = request_of("", asked), request_of("", asked)

    assert (one.digest, one.named) == ("", False)
    assert one.id != other.id


def test_a_conversation_with_tools_is_taken_as_clients_keep_it() -> None:
    answer = {"role": "assistant", "content": None, "annotations": [{"type": "url_citation"}], "tool_calls": [CALL]}
    result = {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "sunny"}]}
    first = {"role": "user", "content": QUESTION}

    question = chat_request_of(body(messages=[first, answer, result])).question()
    question.check()

    called, returned = question.messages[1:]
    assert called.tool_calls == (ToolCall(id="c1", name="weather", arguments_json='{"at": "sea"}'),)
    assert (called.text, returned.tool_results) == ("", (ToolResult(id="c1", text="sunny"),))
    assert question.text == QUESTION


def test_tools_and_output_format_are_asked_for_as_openai_does() -> None:
    parameters, schema = {"type": "object", "properties": {"at": {"type": "string"}}}, {"type": "object"}
    function = {"name": "weather", "description": "Tells it.", "parameters": parameters, "strict": True}
    question = chat_request_of(
        body(
            tools=[{"type": "function", "function": function}, {"type": "function", "function": {"name": "now"}}],
            tool_choice={"type": "function", "function": {"name": "weather"}},
            parallel_tool_calls=False,
            response_format={"type": "json_schema", "json_schema": {"name": "w", "schema": schema, "strict": True}},
            n=3,
            logprobs=True,
            top_logprobs=2,
            logit_bias={"7": -100, "8": 0.5},
            presence_penalty=1,
            frequency_penalty=-0.5,
        )
    ).question()
    question.check()

    weather = Tool(name="weather", description="Tells it.", parameters_json=json.dumps(parameters), strict=True)
    assert question.tools == (weather, Tool(name="now"))
    assert question.tool_choice == ToolChoice(mode=ToolMode.REQUIRED, names=("weather",), single_call=True)
    assert question.output == OutputFormat(schema_json=json.dumps(schema), name="w", strict=True)
    assert question.candidates == 3
    assert question.sampling == Sampling(
        presence_penalty=1.0,
        frequency_penalty=-0.5,
        logit_bias={7: -100.0, 8: 0.5},
        logprobs=True,
        top_logprobs=2,
    )


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"n": 17}, "n"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL, TOOL]}, "tools[1].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "no blanks"}}]}, "tools[0].function.name"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "other"}}}, "tool_choice"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"presence_penalty": 2.5}, "presence_penalty"),
        ({"logit_bias": {"5": 101}}, "logit_bias[5]"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}},
            "response_format.json_schema.name",
        ),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_its_name(changes: dict[str, Any], param: str) -> None:
    async with open_api(ScriptedAnswers()) as api:
        response = await api.ask(**changes)

    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_a_request_without_tools_has_the_digest_that_it_had_before_there_were_any() -> None:
    question = chat_request_of(body()).question()
    assert request_of("k", question).digest == request_of("k", chat_request_of(body(n=1, tools=[])).question()).digest
    assert request_of("k", question).digest == "4dde3fec999b4f584c88b46e4e5ecec9253e59e93a75b2c42d86bafd749def95"


@pytest.mark.parametrize("part", ["audio", "function_call", "refusal", "recently_invented"])
def test_an_earlier_answer_is_taken_with_the_empty_parts_that_clients_keep(part: str) -> None:
    def asked(value: object) -> bytes:
        text = {"type": "text", "text": "Press reset.", "annotations": []}
        answer = {"role": "assistant", "content": [text], part: value}
        return json.dumps({"model": "helpdesk", "messages": [answer, {"role": "user", "content": "How?"}]}).encode()

    nothing: tuple[object, ...] = ([], "", None)
    for empty in nothing:
        assert chat_request_of(asked(empty)).messages[0].message() == Message.of(Role.ASSISTANT, "Press reset.")
    with pytest.raises(InvalidInput, match=rf"messages\[0\]\.{part}: is not supported"):
        chat_request_of(asked(["x"]))
