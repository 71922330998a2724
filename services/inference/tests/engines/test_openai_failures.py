"""What goes wrong at an OpenAI-compatible endpoint becomes an error of ours, and ends."""

import json
import time

import pytest

from services.inference.tests.engines.openai_engines import engine_at, engine_for, received
from services.inference.tests.engines.openai_server import (
    GOOD,
    USAGE,
    WORDS,
    Handler,
    calls_a_tool,
    chunk,
    openai_server,
    says,
    streams,
)
from tidemill_core.errors import DependencyUnavailable, InvalidInput, PreconditionFailed, RateLimited
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.engines import openai as openai_engine
from tidemill_inference.engines.openai import OpenAiEngine
from tidemill_inference.engines.ports import Piece
from tidemill_inference.errors import PromptTooLong
from tidemill_testkit.loop_lag import loop_lag


@pytest.mark.parametrize(
    ("answer", "error", "why"),
    [
        (says(500, "oops"), DependencyUnavailable, "fails with HTTP status 500"),
        (says(429, "slow down"), RateLimited, "rejects further requests"),
        (says(401, "who?"), PreconditionFailed, "refuses the key"),
        (says(404, "what?"), PreconditionFailed, "has no model gpt"),
        (says(400, '{"error": {"code": "context_length_exceeded"}}'), PromptTooLong, "maximum context length"),
        (says(400, '{"error": {"message": "Prompt is too long: 9000 > 8192"}}'), PromptTooLong, "maximum context"),
        (streams({"error": {"message": "the maximum context length is 8192"}}), PromptTooLong, "maximum context"),
        (streams({"error": {"message": "slow down", "code": 429}}), RateLimited, "rejects further requests"),
        (says(400, '{"error": {"code": "invalid_value"}}'), InvalidInput, "does not accept this request"),
        (
            says(400, '{"error": {"code": "unsupported_value", "param": "temperature"}}'),
            InvalidInput,
            "accept temperature",
        ),
        (streams(chunk(finish="tool_calls")), DependencyUnavailable, "broke its answer off"),
        (streams(calls_a_tool(name=""), chunk(finish="tool_calls")), DependencyUnavailable, "broke its answer off"),
        (streams(chunk(finish="function_call")), DependencyUnavailable, "answers with function_call"),
        (says(200, "<html>hello</html>"), DependencyUnavailable, "nonsense"),
        (streams("data: {no json\n\n"), DependencyUnavailable, "nonsense"),
        (streams("data: 7\n\n"), DependencyUnavailable, "nonsense"),
        (streams({"choices": 5}), DependencyUnavailable, "nonsense"),
        (streams({"choices": [{"delta": 3}]}), DependencyUnavailable, "nonsense"),
        (streams('data: {"a":' + "[" * 100_000 + "\n\n"), DependencyUnavailable, "nonsense"),
        (streams({"choices": [None]}, {"choices": [{"delta": None}]}), DependencyUnavailable, "broke its answer off"),
        (streams({"choices": {"0": {}}}), DependencyUnavailable, "nonsense"),
        (streams({"choices": [{"finish_reason": 7}]}), DependencyUnavailable, "nonsense"),
        (streams(chunk("half")), DependencyUnavailable, "broke its answer off"),
        (streams(chunk("half"), 'data: {"error": {"message": "died"}}\n\n'), DependencyUnavailable, "nonsense"),
    ],
)
async def test_whatever_the_endpoint_does_becomes_an_error_of_ours(
    answer: Handler, error: type[Exception], why: str
) -> None:
    async with openai_server(answer) as server:
        with pytest.raises(error, match=why):
            await received(engine_for(server))


@pytest.mark.parametrize(
    "said",
    [
        "The input (20030 tokens) is longer than the model's context length (8192 tokens).",
        "Input validation error: `inputs` must have less than 4095 tokens. Given: 20030",
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8192. Given: 20030",
        "the request exceeds the available context size. try increasing the context size",
        "The decoder prompt (length 20030) is longer than the maximum model length of 8192.",
        "The input token count (20030) exceeds the maximum number of tokens allowed (8192).",
        "input length exceeds context length",
        "Please reduce the length of the messages or completion.",
        "This model's maximum prompt length is 131072 but the request contains 200000 tokens.",
        "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
        "Input is too long for requested model.",
        "Input tokens exceed the configured limit of 272000 tokens.",
        "Invalid request: Your request exceeded model token limit: tokens in request more than max tokens allowed",
    ],
)
async def test_a_prompt_that_is_too_long_is_known_in_the_words_of_many_servers(said: str) -> None:
    for answer in (
        says(400, json.dumps({"error": {"message": said}})),
        says(422, json.dumps({"error": said})),
        says(413, ""),
        streams({"error": {"message": said}}),
    ):
        async with openai_server(answer) as server:
            with pytest.raises(PromptTooLong):
                await received(engine_for(server))


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("max_tokens (9999) exceeds the maximum of 4096 completion tokens", "this request"),
        ("Invalid 'user': string too long. Expected a string with maximum length 256", "this request"),
        ("Input validation error: `temperature` must be <= 2", "temperature as it is"),
        ("Unsupported value: 'temperature' does not support 0.1 with this model.", "temperature as it is"),
    ],
)
async def test_a_parameter_that_is_refused_is_no_prompt_that_is_too_long(said: str, named: str) -> None:
    async with openai_server(says(400, json.dumps({"error": {"message": said}}))) as server:
        with pytest.raises(InvalidInput, match=f"does not accept {named}"):
            await received(engine_for(server))


@pytest.mark.parametrize("reason", ["error", "abort", "cancelled", "insufficient_system_resource", "recently_invented"])
async def test_an_answer_that_did_not_end_well_is_not_handed_on_as_a_whole_one(reason: str) -> None:
    async with openai_server(streams(chunk("half"), chunk(finish=reason))) as server:
        with pytest.raises(DependencyUnavailable, match="broke its answer off"):
            await received(engine_for(server))


@pytest.mark.parametrize(
    "event",
    [
        '{"choices":[' + "{}," * 50_000 + "{}]}",
        '{"choices":[{"delta":{"tool_calls":[' + "{}," * 50_000 + "{}]}}]}",
        '{"choices":[],"usage":{"prompt_tokens_details":[' + "{}," * 50_000 + "{}]}}",
    ],
)
async def test_an_event_of_very_many_parts_delays_no_other(event: str) -> None:
    async with openai_server(streams(f"data: {event}\n\n")) as server, loop_lag() as lag:
        with pytest.raises(DependencyUnavailable):
            await received(engine_for(server))

    assert lag.worst_s < 0.2


async def test_events_without_text_do_not_go_on_for_ever_and_let_others_have_their_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openai_engine, "MAX_EVENTS", 2000)
    async with openai_server(streams("data: {}\n\n" * 3000, *GOOD)) as server, loop_lag() as lag:
        with pytest.raises(DependencyUnavailable, match="does not stop answering"):
            await received(engine_for(server))

    assert lag.worst_s < 0.2


@pytest.mark.parametrize("status", [429, 503, 529])
@pytest.mark.parametrize(
    ("headers", "pause_s"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": ""}, 1),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, 1),
        ({"retry-after": "Fri, 31 Dec 2999 23:59:59 GMT"}, 60),
        ({"retry-after": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}, 1),
        ({"retry-after": "9e9"}, 60),
        ({"retry-after-ms": "2500", "retry-after": "3"}, 2.5),
    ],
)
async def test_a_busy_endpoint_is_asked_once_and_says_when_to_come_again(
    status: int, headers: dict[str, str], pause_s: float
) -> None:
    async with openai_server(says(status, "busy", headers=headers)) as server:
        with pytest.raises(RateLimited) as raised:
            await received(engine_for(server))

    assert raised.value.retry_after_s == pause_s
    assert len(server.asked) == 1


async def test_an_address_without_a_server_is_unavailable() -> None:
    with pytest.raises(DependencyUnavailable, match="cannot be reached"):
        await received(engine_at("http://127.0.0.1:1/v1", stall_s=1))


async def test_an_endpoint_that_the_operator_did_not_name_fails_in_one_way_whatever_is_behind_it() -> None:
    reported = set()
    async with openai_server(says(500, "oops")) as broken, openai_server(says(405, "no")) as other:
        for url in (broken.url, other.url, "http://127.0.0.1:1/v1"):
            with pytest.raises(DependencyUnavailable) as raised:
                await received(engine_at(url, frank=False))
            reported.add(raised.value.message)

    assert len(reported) == 1


async def test_a_failure_is_not_tried_again_by_the_engine() -> None:
    async with openai_server(says(503, "later")) as server:
        with pytest.raises(DependencyUnavailable):
            await received(engine_for(server))

    assert len(server.asked) == 1


async def test_silence_ends_the_wait_before_the_first_token_and_between_two() -> None:
    for events in ((), (chunk("one"),)):
        async with openai_server(streams(*events, ": nothing\n\n", pause_s=30)) as server:
            began = time.monotonic()
            with pytest.raises(DependencyUnavailable, match="does not answer in time"):
                await received(engine_for(server, stall_s=0.3))
            assert time.monotonic() - began < 20


async def test_the_deadline_counts_also_while_tokens_trickle_in() -> None:
    async with openai_server(streams(*[chunk("x")] * 100, pause_s=0.1)) as server:
        with pytest.raises(DependencyUnavailable, match="does not answer in time"):
            await received(engine_for(server), timeout_s=0.5)


async def test_a_refusal_that_no_other_parameters_help_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    always = {"model": "gpt", "messages": [], "stream": True, "max_tokens": 9}
    monkeypatch.setattr(OpenAiEngine, "_request", lambda *_: always)

    async with openai_server(says(400, "'max_tokens' or 'max_completion_tokens' is too large")) as server:
        with pytest.raises(InvalidInput):
            await received(engine_for(server), timeout_s=1)

    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "event",
    [
        {"delta": {}, "logprobs": {"content": [{"token": "a", "logprob": -1, "bytes": []}] * 500}},
        {"delta": {}, "logprobs": {"content": [{"token": "a" * 9000, "logprob": -1}]}},
        {"delta": {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f"}}] * 500}},
    ],
    ids=["log probabilities", "long tokens", "calls"],
)
async def test_what_is_no_text_of_an_answer_takes_no_memory_without_end(
    event: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_engine, "MAX_OBJECTS", 1500, raising=False)
    events = [{"choices": [{"index": 0, **event}]}] * 20
    async with openai_server(streams(*events, chunk(finish="stop"), USAGE)) as server:
        with pytest.raises(DependencyUnavailable, match="does not stop answering"):
            await received(engine_for(server), Sampling(logprobs=True))


async def test_log_probabilities_that_were_not_asked_for_are_dropped() -> None:
    unasked = {"choices": [{"index": 0, "delta": {}, "logprobs": {"content": [{"token": "a", "logprob": -1}]}}]}
    async with openai_server(streams(unasked, *GOOD)) as server:
        answer = await received(engine_for(server))

    assert answer[0] == Piece(text=WORDS[0])
