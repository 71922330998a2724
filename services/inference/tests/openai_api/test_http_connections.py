"""Connections and bodies as clients, proxies and those who mean ill send them, on a real server."""

import asyncio
import gzip
import json
import zlib

import pytest

from services.inference.tests.openai_api.apis import BODY, ScriptedAnswers, open_api

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
RAW = zlib.compressobj(wbits=-zlib.MAX_WBITS)
PLAIN = json.dumps(BODY).encode()


def gzipped(text: bytes) -> bytes:
    return gzip.compress(text, mtime=0)  # with the time, names of tests would differ between processes


async def test_a_request_with_two_lengths_is_refused_and_its_connection_closed() -> None:
    async with open_api(ScriptedAnswers()) as api:
        reader, writer = await asyncio.open_connection("127.0.0.1", api.server.port)
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nOpenAI-Project: acme\r\n"
        writer.write(head + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET)
        async with asyncio.timeout(30):
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
