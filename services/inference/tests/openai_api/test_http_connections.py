"""Connections and bodies as clients, proxies and those who mean ill send them, on a real server."""

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from services.inference.tests.openai_api.apis import BODY, ScriptedAnswers, open_api
from tidemill_kit.http.connections import ConnectionLimits
from tidemill_kit.http.server import HttpServer

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
RAW = zlib.compressobj(wbits=-zlib.MAX_WBITS)
PLAIN = json.dumps(BODY).encode()


def gzipped(text: bytes) -> bytes:
    return gzip.compress(text, mtime=0)  # with the time, names of tests would differ between processes


@asynccontextmanager
async def serving(**limits: float) -> AsyncIterator[int]:
    async def hello(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    app = Starlette(routes=[Route("/", hello)])
    server = HttpServer(app, host="127.0.0.1", port=0, grace_s=1, limits=ConnectionLimits(**limits))  # type: ignore[arg-type]
    await server.start()
    try:
        yield server.port
    finally:
        await server.stop()


async def closed(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(5):
        return not await reader.read(1)


async def answer(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(5):
        await reader.readuntil(b"\r\n\r\n")
        return await reader.readexactly(5)


@pytest.mark.parametrize("sent", [b"", b"GET / HTT", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
async def test_headers_that_do_not_come_are_not_waited_for(sent: bytes) -> None:
    async with serving(header_s=0.2) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)

        assert await closed(reader)
        writer.close()


async def test_half_a_header_behind_a_whole_request_is_not_waited_for_either() -> None:
    async with serving(header_s=0.2, idle_s=60) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        assert await answer(reader) == b"hello"
        writer.write(b"GET / HT")

        assert await closed(reader)
        writer.close()


async def test_a_connection_waits_for_its_next_request_longer_than_for_headers() -> None:
    async with serving(header_s=0.1, idle_s=60) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(GET)
            assert await answer(reader) == b"hello"
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await reader.read(1)
        writer.close()


async def test_an_idle_connection_is_closed_after_its_time() -> None:
    async with serving(idle_s=0.2) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        assert await answer(reader) == b"hello"

        assert await closed(reader)
        writer.close()


async def test_above_the_limit_the_connection_that_is_idle_for_longest_frees_memory() -> None:
    async with serving(max_connections=2) as port:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for reader, writer in idle:
            writer.write(GET)
            await answer(reader)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)

        assert await answer(reader) == b"hello"
        assert await closed(idle[0][0])
        idle[1][1].write(GET)
        assert await answer(idle[1][0]) == b"hello"
        for _, each in [*idle, (reader, writer)]:
            each.close()


async def test_a_request_with_two_lengths_is_refused_and_its_connection_closed() -> None:
    async with open_api(ScriptedAnswers()) as api:
        reader, writer = await asyncio.open_connection("127.0.0.1", api.server.port)
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nOpenAI-Project: acme\r\n"
        writer.write(head + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET)
        async with asyncio.timeout(5):
            reported = await reader.read()
        writer.close()

    assert reported.startswith(b"HTTP/1.1 400")
    assert reported.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzipped(PLAIN)),
        ("GZIP", gzipped(PLAIN)),
        ("deflate", zlib.compress(PLAIN)),
        ("deflate", RAW.compress(PLAIN) + RAW.flush()),
        ("identity", PLAIN),
    ],
)
async def test_a_compressed_body_is_inflated(encoding: str, body: bytes) -> None:
    answers = ScriptedAnswers()
    async with open_api(answers) as api:
        response = await api.http.post("/v1/chat/completions", content=body, headers={"Content-Encoding": encoding})

    assert response.status_code == 200
    assert answers.asked[0][1].text == BODY["messages"][0]["content"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("encoding", "body", "status", "code"),
    [
        ("zstd", PLAIN, 415, "encoding_not_supported"),
        ("br", PLAIN, 415, "encoding_not_supported"),
        ("gzip, gzip", gzipped(gzipped(PLAIN)), 415, "encoding_not_supported"),
        ("gzip", PLAIN, 400, "invalid_input"),
        ("gzip", gzipped(PLAIN)[:-9], 400, "invalid_input"),
        ("gzip", gzipped(PLAIN) * 2, 400, "invalid_input"),
        ("gzip", gzipped(b" " * 1_000_000), 413, "body_too_large"),
    ],
)
async def test_a_body_that_cannot_be_inflated_within_the_limit_is_refused(
    encoding: str, body: bytes, status: int, code: str
) -> None:
    async with open_api(ScriptedAnswers()) as api:
        response = await api.http.post("/v1/chat/completions", content=body, headers={"Content-Encoding": encoding})

    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert (status != 415) or encoding in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b'{"model": "helpdesk", "messages": [], "model": "sales"}', "model"),
        (b'{"model": "helpdesk", "messages": [{"role": "system", "role": "user", "content": "Where?"}]}', "role"),
    ],
)
async def test_a_name_that_is_there_twice_is_refused(body: bytes, name: str) -> None:
    answers = ScriptedAnswers()
    async with open_api(answers) as api:
        response = await api.http.post("/v1/chat/completions", content=body)

    assert (response.status_code, response.json()["error"]["param"]) == (400, name)
    assert answers.asked == []
