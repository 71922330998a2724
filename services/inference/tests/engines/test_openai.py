import asyncio
import json
import time

import httpx2
import pytest
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.inference.tests.engines.openai_server import (
    GOOD,
    USAGE,
    WORDS,
    Handler,
    OpenAiServer,
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
from tidemill_inference.engines.ports import Finish, Generated, Piece, Prompt, RemoteModel, ToolCallPiece
from tidemill_inference.errors import PromptTooLong
from tidemill_inference.generation.domain.content import Message, Role
from tidemill_testkit.loop_lag import loop_lag

ASKED = (Message.of(Role.SYSTEM, "Be brief."), Message.of(Role.USER, "What does os.walk do?"))
NONE = Sampling()


def engine_for(server: OpenAiServer, *, key: str = "", stall_s: float = 2.0) -> OpenAiEngine:
    return engine_at(server.url, key=key, stall_s=stall_s)


def engine_at(url: str, *, key: str = "", stall_s: float = 2.0, frank: bool = True) -> OpenAiEngine:
    return OpenAiEngine(
        RemoteModel(model="gpt", base_url=url),
        key=SecretStr(key) if key else None,
        transport=httpx2.AsyncHTTPTransport(),
        stall_s=stall_s,
        frank=frank,
    )


async def received(engine: OpenAiEngine, sampling: Sampling = NONE, *, timeout_s: float = 5) -> list[Generated]:
    try:
        return await generated(engine, sampling, timeout_s=timeout_s)
    finally:
        await engine.close()


async def generated(engine: OpenAiEngine, sampling: Sampling = NONE, *, timeout_s: float = 5) -> list[Generated]:
    return [each async for each in engine.generate(Prompt(messages=ASKED, sampling=sampling), timeout_s=timeout_s)]


async def test_it_streams_and_reports_what_it_cost() -> None:
    async with openai_server(streams(*GOOD)) as server:
        answer = await received(engine_for(server))

    assert answer == [
        *(Piece(text=word) for word in WORDS),
        Finish(reason="stop", input_tokens=12, output_tokens=3),
    ]


async def test_a_tool_call_of_the_endpoint_is_an_answer() -> None:
    more = calls_a_tool(call="", name="", arguments='"x"}')
    async with openai_server(streams(calls_a_tool(arguments='{"path": '), more, chunk(finish="stop"), USAGE)) as server:
        answer = await received(engine_for(server))

    assert answer == [
        ToolCallPiece(index=0, id="t1", name="look", arguments='{"path": '),
        ToolCallPiece(index=0, arguments='"x"}'),
        Finish(reason="tool_calls", input_tokens=12, output_tokens=3),
    ]


async def test_the_request_carries_messages_sampling_and_the_key() -> None:
    sampling = Sampling(temperature=0.0, top_p=0.5, max_output_tokens=7, seed=3, stop=("\n",))
    async with openai_server(streams(*GOOD)) as server:
        await received(engine_for(server, key="sk-1"), sampling)

    assert server.keys == ["Bearer sk-1"]
    assert server.asked == [
        {
            "model": "gpt",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "What does os.walk do?"},
            ],
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0.0,
            "top_p": 0.5,
            "max_tokens": 7,
            "seed": 3,
            "stop": ["\n"],
        }
    ]


async def test_without_a_secret_no_key_of_the_environment_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-somebody-else")
    monkeypatch.setenv("OPENAI_ORG_ID", "somebody")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "somebody")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "somebody")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Inner: somebody")
    async with openai_server(streams(*GOOD)) as server:
        await received(engine_for(server))

    assert "somebody" not in str(server.headers)


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
    ("reason", "known"),
    [
        ("EOS", "stop"),
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("model_length", "length"),
        ("SAFETY", "content_filter"),
    ],
)
async def test_other_words_for_how_an_answer_ends_are_known(reason: str, known: str) -> None:
    async with openai_server(streams(chunk("whole"), chunk(finish=reason))) as server:
        answer = await received(engine_for(server))

    assert answer[-1] == Finish(reason=known, input_tokens=0, output_tokens=0)


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


async def test_an_answer_that_is_refused_is_handed_on() -> None:
    refusal = chunk() | {"choices": [{"index": 0, "delta": {"refusal": "I will not."}, "finish_reason": None}]}
    async with openai_server(streams(refusal, chunk(finish="stop"), USAGE)) as server:
        answer = await received(engine_for(server))

    assert answer[0] == Piece(text="I will not.")


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (("smile \ud83d", "\ude00 end"), "smile \U0001f600 end"),
        (("\ud83d", "", "\ude00"), "\U0001f600"),
        (("half \ud83d", " of one"), "half \ufffd of one"),
        (("other half \ude00",), "other half \ufffd"),
        (("ends \ud83d",), "ends \ufffd"),
    ],
)
async def test_characters_whose_halves_come_in_two_pieces_are_whole(pieces: tuple[str, ...], text: str) -> None:
    async with openai_server(streams(*map(chunk, pieces), chunk(finish="stop"), USAGE)) as server:
        answer = await received(engine_for(server))

    assert "".join(each.text for each in answer if isinstance(each, Piece)) == text


@pytest.mark.parametrize("status", [429, 503, 529])
@pytest.mark.parametrize(
    ("headers", "pause_s"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": ""}, 1),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, 1),
        ({"retry-after": "Fri, 31 Dec 2999 23:59:59 GMT"}, 60),
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


@pytest.mark.parametrize("status", [400, 422])
async def test_a_model_that_takes_the_limit_by_its_other_name_only_gets_it_so(status: int) -> None:
    async def handle(request: Request) -> Response:
        if "max_tokens" in await request.json():
            said = {"message": "Use 'max_completion_tokens' instead.", "code": "unsupported_parameter"}
            return JSONResponse({"error": said | {"param": "max_tokens"}}, status_code=status)
        return await streams(*GOOD)(request)

    async with openai_server(handle) as server:
        engine = engine_for(server)
        for _ in range(2):
            pieces = engine.generate(Prompt(messages=ASKED, sampling=Sampling(max_output_tokens=5)), timeout_s=5)
            assert Piece(text=WORDS[0]) in [each async for each in pieces]
        await engine.close()

    names = [[name for name in asked if name.startswith("max_")] for asked in server.asked]
    assert names == [["max_tokens"], ["max_completion_tokens"], ["max_completion_tokens"]]


async def test_a_server_that_does_not_report_what_a_stream_cost_is_not_asked_for_it() -> None:
    async def handle(request: Request) -> Response:
        if "stream_options" in await request.json():
            return JSONResponse({"error": {"message": "Unrecognized argument: stream_options"}}, status_code=400)
        return await streams(*GOOD)(request)

    async with openai_server(handle) as server:
        answer = await received(engine_for(server))

    assert [each.text for each in answer if isinstance(each, Piece)] == list(WORDS)
    assert len(server.asked) == 2


async def test_what_a_server_does_not_take_is_learnt_by_several_requests_at_the_same_time() -> None:
    refused, both = 0, asyncio.Event()

    async def handle(request: Request) -> Response:
        nonlocal refused
        if "stream_options" not in await request.json():
            return await streams(*GOOD)(request)
        refused += 1
        if refused == 2:
            both.set()
        await both.wait()  # both are sent before either is refused
        return JSONResponse({"error": {"message": "Unrecognized argument: stream_options"}}, status_code=400)

    async with openai_server(handle) as server:
        engine = engine_for(server)
        answers = await asyncio.gather(generated(engine), generated(engine))
        await engine.close()

    for answer in answers:
        assert [each.text for each in answer if isinstance(each, Piece)] == list(WORDS)
    assert refused == 2


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
            assert time.monotonic() - began < 5


async def test_the_deadline_counts_also_while_tokens_trickle_in() -> None:
    async with openai_server(streams(*[chunk("x")] * 100, pause_s=0.1)) as server:
        with pytest.raises(DependencyUnavailable, match="does not answer in time"):
            await received(engine_for(server), timeout_s=0.5)


async def test_leaving_closes_the_connection() -> None:
    ended = asyncio.Event()

    async with openai_server(streams(*[chunk("x")] * 10_000, pause_s=0.02, ended=ended)) as server:
        engine = engine_for(server)
        pieces = engine.generate(Prompt(messages=ASKED, sampling=Sampling()), timeout_s=30)
        await anext(pieces)
        await pieces.aclose()
        async with asyncio.timeout(5):
            await ended.wait()
        await engine.close()
