"""Tokens of a token endpoint: asked for once, used for most of their lifetime, and nothing secret in what fails."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, quote_plus

import pytest
from aiokafka.errors import KafkaConnectionError

from tidemill_core.transport_security import ClientCredentials, Secret
from tidemill_kit.events.connection import EndpointTokens

SECRET = "the client's secret"  # noqa: S105 - of no client


@dataclass
class Endpoint:
    """A token endpoint, over plain HTTP."""

    status: int = 200
    answer: Callable[[int], str] = lambda number: json.dumps({"access_token": f"token-{number}", "expires_in": 100})
    url: str = ""
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    authorization: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:] if line)
        self.authorization = next(line[21:] for line in head.splitlines() if line.lower().startswith("authorization:"))
        body = await reader.readexactly(int(headers["content-length"]))
        self.asked.append(parse_qs(body.decode()))
        answer = self.answer(len(self.asked)).encode()
        writer.write(b"HTTP/1.1 %d Status\r\nContent-Length: %d\r\n\r\n%b" % (self.status, len(answer), answer))
        await writer.drain()
        writer.close()


@asynccontextmanager
async def serving(endpoint: Endpoint) -> AsyncIterator[Endpoint]:
    async with await asyncio.start_server(endpoint.serve, "127.0.0.1", 0) as server:
        endpoint.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/token"
        yield endpoint


def tokens_of(endpoint: Endpoint, now: Callable[[], float] = lambda: 0.0) -> EndpointTokens:
    credentials = ClientCredentials(url=endpoint.url, client_id="rag", client_secret=Secret(SECRET), scope="kafka")
    return EndpointTokens(credentials, now=now)


async def test_a_token_is_asked_for_once_until_most_of_its_lifetime_is_over() -> None:
    clock = 0.0
    async with serving(Endpoint()) as endpoint:
        tokens = tokens_of(endpoint, lambda: clock)
        assert set(await asyncio.gather(*(tokens.token() for _ in range(5)))) == {"token-1"}
        clock = 79.0
        assert await tokens.token() == "token-1"
        clock = 80.0
        assert await tokens.token() == "token-2"

    assert endpoint.asked[0] == {"grant_type": ["client_credentials"], "scope": ["kafka"]}
    assert base64.b64decode(endpoint.authorization).decode() == f"rag:{quote_plus(SECRET)}"


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        (Endpoint(status=401, answer=lambda _: SECRET), "HTTP status 401"),
        (Endpoint(status=302), "HTTP status 302"),
        (Endpoint(answer=lambda _: f"not JSON, but {SECRET}"), "no access_token"),
        (Endpoint(answer=lambda _: json.dumps({"token": SECRET})), "no access_token"),
        (Endpoint(answer=lambda _: json.dumps({"access_token": "a\x01auth=b"})), "no access_token"),
        (Endpoint(answer=lambda _: "x" * 100_000), "exceeds 65536 bytes"),
    ],
)
async def test_an_endpoint_that_gives_no_token_is_named_and_no_secret_is(endpoint: Endpoint, why: str) -> None:
    async with serving(endpoint):
        with pytest.raises(KafkaConnectionError) as raised:
            await tokens_of(endpoint).token()

    said = str(raised.value)
    assert endpoint.url in said
    assert why in said
    assert SECRET not in said
    assert raised.value.__cause__ is None
