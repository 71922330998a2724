"""Remote models are connected to at checked addresses only, by the name that was asked for."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trustme
from pydantic import SecretStr

from services.inference.tests.engines.names import Names
from tidemill_core.origins import AllowedHosts, Origin
from tidemill_inference.engines import endpoint as module
from tidemill_inference.engines.endpoint import ConnectionFailed, Endpoint, Refused
from tidemill_kit.outgoing.addresses import CheckedAddresses, Unreachable

FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"


class Site:
    """Answers every request, and keeps what came over how many connections."""

    def __init__(self, answer: bytes, *, closes: bool = False) -> None:
        self.port, self.connections, self.heads = 0, 0, list[str]()
        self._answer, self._closes = answer, closes

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode().lower())
                writer.write(self._answer)
                if self._closes:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()


@asynccontextmanager
async def site(answer: bytes = FINE, *, tls: ssl.SSLContext | None = None, closes: bool = False) -> AsyncIterator[Site]:
    made = Site(answer, closes=closes)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made


@asynccontextmanager
async def endpoint(base_url: str, names: Names, *, allowed: str = "") -> AsyncIterator[Endpoint]:
    addresses = CheckedAddresses(allowed=AllowedHosts.of([allowed]), resolve=names, connect_s=5, project="acme")
    made = Endpoint(base_url, addresses, key=SecretStr("sk-1"), stall_s=5)
    try:
        yield made
    finally:
        await made.close()


async def test_it_connects_to_the_address_that_was_checked_by_the_name_that_was_asked_for() -> None:
    async with site() as here:
        url = f"http://api.example:{here.port}/v1"
        async with endpoint(url, Names("127.0.0.1"), allowed="api.example") as made:
            assert await made.get("/models") == b"fine"

    (head,) = here.heads
    assert head.startswith("get /v1/models ")
    assert f"host: api.example:{here.port}" in head
    assert "authorization: bearer sk-1" in head


async def test_a_kept_connection_goes_where_it_was_checked_to() -> None:
    names = Names("127.0.0.1", "10.0.0.1")
    async with site() as here:
        url = f"http://api.example:{here.port}"
        async with endpoint(url, names, allowed="api.example") as made:
            await made.get("/models")
            await made.get("/models")
            assert (names.asked, here.connections) == (1, 1)


async def test_a_new_connection_is_checked_anew() -> None:
    names = Names("127.0.0.1", "127.0.0.2")
    async with site(HALF) as here, endpoint(f"http://api.example:{here.port}", names, allowed="api.example") as made:
        await (await made.post("/chat/completions", {})).leave()
        with pytest.raises(ConnectionFailed):
            await made.get("/models")

    assert (names.asked, here.connections) == (2, 1)


async def test_the_resolver_knows_one_origin_only() -> None:
    addresses = CheckedAddresses(
        allowed=AllowedHosts.of(["api.example"]), resolve=Names("127.0.0.1"), connect_s=5, project="acme"
    )
    resolver = module._Resolver(Origin.of("https://api.example"), addresses)  # noqa: SLF001 - what aiohttp asks

    assert [each["host"] for each in await resolver.resolve("api.example", 443)] == ["127.0.0.1"]
    for host, port in (("evil.example", 443), ("api.example", 444)):
        with pytest.raises(Unreachable):
            await resolver.resolve(host, port)


@pytest.mark.parametrize("sent", [200_000, 90])
async def test_an_error_keeps_its_status_however_long_its_body_is_and_where_it_breaks_off(sent: int) -> None:
    body = b"HTTP/1.1 422 Unprocessable\r\nContent-Length: 200000\r\nConnection: close\r\n\r\n" + b"x" * sent
    async with (
        site(body, closes=True) as here,
        endpoint(f"http://127.0.0.1:{here.port}", Names("127.0.0.1"), allowed="127.0.0.1") as made,
    ):
        with pytest.raises(Refused) as refused:
            await made.post("/chat/completions", {})

    assert refused.value.status == 422
    assert min(sent, module.MAX_ERROR_BYTES) <= len(refused.value.body) < 200_000


async def test_one_inner_address_among_several_refuses_the_name() -> None:
    async with site() as inner, endpoint(f"https://api.example:{inner.port}", Names("8.8.8.8 127.0.0.1")) as made:
        with pytest.raises(ConnectionFailed):
            await made.get("/models")

    assert inner.connections == 0


async def test_the_next_address_is_tried_where_one_is_down() -> None:
    async with site() as here:
        url = f"http://api.example:{here.port}"
        async with endpoint(url, Names("127.0.0.2 127.0.0.1"), allowed="api.example") as made:
            assert await made.get("/models") == b"fine"


async def test_credentials_in_the_address_are_not_sent() -> None:
    async with site() as here:
        url = f"http://user:password@127.0.0.1:{here.port}/v1"
        async with endpoint(url, Names("127.0.0.1"), allowed="127.0.0.1") as made:
            await made.get("/models")

    assert here.heads[0].count("authorization") == 1
    assert "authorization: bearer sk-1" in here.heads[0]


@pytest.mark.parametrize(
    ("certified", "trusted"), [("api.example", "its"), ("other.example", "its"), ("api.example", "another")]
)
async def test_by_tls_only_the_host_that_was_asked_for_is_spoken_to(
    certified: str, trusted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    authorities = {"its": trustme.CA(), "another": trustme.CA()}
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authorities["its"].issue_cert(certified).configure_cert(server)
    authorities[trusted].configure_trust(client)
    monkeypatch.setattr(module, "authorities", lambda: client)
    async with site(tls=server) as here:
        url = f"https://api.example:{here.port}"
        async with endpoint(url, Names("127.0.0.1"), allowed="api.example") as made:
            if (certified, trusted) == ("api.example", "its"):
                assert await made.get("/models") == b"fine"
            else:
                with pytest.raises(ConnectionFailed):
                    await made.get("/models")
                assert here.heads == []


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "ended", "connections"), [(CHUNKED, True, 1), (CHUNKED, False, 1), (HALF, False, 2)]
)
async def test_a_connection_is_used_again_after_a_whole_answer(answer: bytes, *, ended: bool, connections: int) -> None:
    async with (
        site(answer) as here,
        endpoint(f"http://127.0.0.1:{here.port}", Names("127.0.0.1"), allowed="127.0.0.1") as made,
    ):
        for _ in range(2):
            begun = await made.post("/chat/completions", {})
            await begun.more()
            await begun.leave(ended=ended)
        assert here.connections == connections
