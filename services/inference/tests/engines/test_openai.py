import asyncio

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.inference.tests.engines.openai_engines import ASKED, engine_for, generated, received
from services.inference.tests.engines.openai_server import (
    GOOD,
    MADE_BY,
    USAGE,
    WORDS,
    calls_a_tool,
    chunk,
    openai_server,
    streams,
)
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.engines.ports import Finish, Piece, Prompt, ToolCallPiece


async def test_it_streams_and_reports_what_it_cost() -> None:
    async with openai_server(streams(*GOOD)) as server:
        answer = await received(engine_for(server))

    assert answer == [
        *(Piece(text=word) for word in WORDS),
        Finish(reason="stop", input_tokens=12, output_tokens=3, identity=MADE_BY),
    ]


async def test_a_tool_call_of_the_endpoint_is_an_answer() -> None:
    more = calls_a_tool(call="", name="", arguments='"x"}')
    async with openai_server(streams(calls_a_tool(arguments='{"path": '), more, chunk(finish="stop"), USAGE)) as server:
        answer = await received(engine_for(server))

    assert answer == [
        ToolCallPiece(index=0, id="t1", name="look", arguments='{"path": '),
        ToolCallPiece(index=0, arguments='"x"}'),
        Finish(reason="tool_calls", input_tokens=12, output_tokens=3, identity=MADE_BY),
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
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-account")
    monkeypatch.setenv("OPENAI_ORG_ID", "another-account")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "another-account")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "another-account")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Inner: another-account")
    async with openai_server(streams(*GOOD)) as server:
        await received(engine_for(server))

    assert "another-account" not in str(server.headers)


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

    assert answer[-1] == Finish(reason=known, input_tokens=0, output_tokens=0, identity=MADE_BY)


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


async def test_leaving_closes_the_connection() -> None:
    ended = asyncio.Event()

    async with openai_server(streams(*[chunk("x")] * 10_000, pause_s=0.02, ended=ended)) as server:
        engine = engine_for(server)
        pieces = engine.generate(Prompt(messages=ASKED, sampling=Sampling()), timeout_s=30)
        await anext(pieces)
        await pieces.aclose()
        async with asyncio.timeout(30):
            await ended.wait()
        await engine.close()
