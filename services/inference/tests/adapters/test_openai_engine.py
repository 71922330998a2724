import asyncio
import time

import httpx2
import pytest
from pydantic import SecretStr

from services.inference.tests.adapters.openai_server import (
    GOOD,
    WORDS,
    Handler,
    OpenAiServer,
    chunk,
    openai_server,
    says,
    streams,
)
from tidemill_inference.adapters.openai_engine import OpenAiEngine
from tidemill_inference.application.ports import Finish, Piece, RemoteModel
from tidemill_inference.domain.content import Message, Role
from tidemill_inference.domain.deployment import Sampling
from tidemill_kit.errors import DependencyUnavailable, InvalidInput, PreconditionFailed

ASKED = (Message.of(Role.SYSTEM, "Be brief."), Message.of(Role.USER, "What does os.walk do?"))
NONE = Sampling()


def engine_for(server: OpenAiServer, *, key: str = "", stall_s: float = 2.0, retries: int = 0) -> OpenAiEngine:
    return engine_at(server.url, key=key, stall_s=stall_s, retries=retries)


def engine_at(url: str, *, key: str = "", stall_s: float = 2.0, retries: int = 0, frank: bool = True) -> OpenAiEngine:
    return OpenAiEngine(
        RemoteModel(model="gpt", base_url=url),
        key=SecretStr(key) if key else None,
        transport=httpx2.AsyncHTTPTransport(),
        stall_s=stall_s,
        retries=retries,
        frank=frank,
    )


async def heard(
    engine: OpenAiEngine, sampling: Sampling | None = None, *, timeout_s: float = 5
) -> list[Piece | Finish]:
    try:
        return [each async for each in engine.generate(ASKED, sampling or Sampling(), timeout_s=timeout_s)]
    finally:
        await engine.close()


async def test_it_streams_and_tells_what_it_cost() -> None:
    async with openai_server(streams(*GOOD)) as server:
        answer = await heard(engine_for(server))

    assert answer == [
        *(Piece(text=word) for word in WORDS),
        Finish(reason="stop", input_tokens=12, output_tokens=3),
    ]


async def test_the_request_carries_messages_sampling_and_the_key() -> None:
    sampling = Sampling(temperature=0.0, top_p=0.5, max_output_tokens=7, seed=3, stop=("\n",))
    async with openai_server(streams(*GOOD)) as server:
        await heard(engine_for(server, key="sk-1"), sampling)

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
        await heard(engine_for(server))

    assert "somebody" not in str(server.headers)


@pytest.mark.parametrize(
    ("answer", "error", "why"),
    [
        (says(500, "oops"), DependencyUnavailable, "fails with HTTP status 500"),
        (says(429, "slow down"), DependencyUnavailable, "fails with HTTP status 429"),
        (says(401, "who?"), PreconditionFailed, "refuses the key"),
        (says(404, "what?"), PreconditionFailed, "has no model gpt"),
        (says(400, '{"error": {"code": "context_length_exceeded"}}'), InvalidInput, "does not take this request"),
        (says(200, "<html>hello</html>"), DependencyUnavailable, "nonsense"),
        (streams("data: {no json\n\n"), DependencyUnavailable, "nonsense"),
        (streams("data: 7\n\n"), DependencyUnavailable, "nonsense"),
        (streams({"choices": 5}), DependencyUnavailable, "nonsense"),
        (streams({"choices": [{"delta": 3}]}), DependencyUnavailable, "nonsense"),
        (streams(chunk("half")), DependencyUnavailable, "broke its answer off"),
        (streams(chunk("half"), 'data: {"error": {"message": "died"}}\n\n'), DependencyUnavailable, "nonsense"),
    ],
)
async def test_whatever_the_endpoint_does_becomes_an_error_of_ours(
    answer: Handler, error: type[Exception], why: str
) -> None:
    async with openai_server(answer) as server:
        with pytest.raises(error, match=why):
            await heard(engine_for(server))


async def test_nobody_there_is_unavailable() -> None:
    with pytest.raises(DependencyUnavailable, match="cannot be reached"):
        await heard(engine_at("http://127.0.0.1:1/v1", stall_s=1))


async def test_an_endpoint_that_the_operator_did_not_name_fails_in_one_way_whatever_is_behind_it() -> None:
    told = set()
    async with openai_server(says(500, "oops")) as broken, openai_server(says(405, "no")) as other:
        for url in (broken.url, other.url, "http://127.0.0.1:1/v1"):
            with pytest.raises(DependencyUnavailable) as raised:
                await heard(engine_at(url, frank=False))
            told.add(raised.value.message)

    assert len(told) == 1


async def test_a_failure_is_tried_again_as_often_as_said() -> None:
    async with openai_server(says(503, "later")) as server:
        with pytest.raises(DependencyUnavailable):
            await heard(engine_for(server, retries=1))

    assert len(server.asked) == 2


async def test_silence_ends_the_wait_before_the_first_token_and_between_two() -> None:
    for events in ((), (chunk("one"),)):
        async with openai_server(streams(*events, ": nothing\n\n", pause_s=30)) as server:
            began = time.monotonic()
            with pytest.raises(DependencyUnavailable, match="does not answer in time"):
                await heard(engine_for(server, stall_s=0.3))
            assert time.monotonic() - began < 5


async def test_the_deadline_counts_also_while_tokens_trickle_in() -> None:
    async with openai_server(streams(*[chunk("x")] * 100, pause_s=0.1)) as server:
        with pytest.raises(DependencyUnavailable, match="does not answer in time"):
            await heard(engine_for(server), timeout_s=0.5)


async def test_leaving_closes_the_connection() -> None:
    ended = asyncio.Event()

    async with openai_server(streams(*[chunk("x")] * 10_000, pause_s=0.02, ended=ended)) as server:
        engine = engine_for(server)
        pieces = engine.generate(ASKED, Sampling(), timeout_s=30)
        await anext(pieces)
        await pieces.aclose()
        async with asyncio.timeout(5):
            await ended.wait()
        await engine.close()
