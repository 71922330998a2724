"""Every outgoing call is checked after the name was resolved, on redirects too, and connects to what was checked."""

import asyncio
import ipaddress
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tidemill_core.origins import AllowedHosts, IPAddress
from tidemill_kit.outgoing import client
from tidemill_kit.outgoing.client import HttpError, outgoing_client
from tidemill_testkit.polling import eventually

NOTHING = AllowedHosts()


class Names:
    """Implements `Resolver`: a name means what a test says, one answer after the other, and the last one for good."""

    def __init__(self, *answers: str) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, _project: str, host: str, _port: int) -> Sequence[IPAddress]:
        await asyncio.sleep(0)
        self.asked.append(host)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [ipaddress.ip_address(answer)]


class Site:
    """Answers each path with a redirect, or with its own name; keeps what it was sent."""

    def __init__(self) -> None:
        self.port = 0
        self.redirects: dict[str, str] = {}
        self.received: list[str] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.received.append(head)
        path = head.split()[1]
        if location := self.redirects.get(path):
            writer.write(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")
        await writer.drain()
        writer.close()


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    made = Site()
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "10.0.0.1", "169.254.169.254", "192.168.1.1", "[fd00::1]", "[::]"]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_an_inner_address_is_not_connected_to(scheme: str, host: str) -> None:
    async with site() as inner:
        async with outgoing_client(allowed=NOTHING, timeout_s=5) as client:
            with pytest.raises(HttpError):
                await client.get(f"{scheme}://{host}:{inner.port}/")
        assert inner.received == []


async def test_a_name_that_means_an_inner_address_is_not_connected_to() -> None:
    async with site() as inner:
        async with outgoing_client(allowed=NOTHING, timeout_s=5, resolve=Names("127.0.0.1")) as client:
            with pytest.raises(HttpError):
                await client.get(f"https://rebound.example:{inner.port}/")
        assert inner.received == []


async def test_what_the_operator_allows_is_called_by_the_address_that_was_checked() -> None:
    names = Names("127.0.0.1", "127.0.0.2")
    async with site() as inner:
        allowed = AllowedHosts.of([f"inner.example:{inner.port}"])
        async with outgoing_client(allowed=allowed, timeout_s=5, resolve=names) as client:
            assert (await client.get(f"http://inner.example:{inner.port}/")).text == "fine"
        (head,) = inner.received
    assert f"Host: inner.example:{inner.port}".lower() in head.lower()
    assert names.asked == ["inner.example"]  # resolved once: a second answer could be another one


async def test_without_tls_only_what_the_operator_allows_is_called() -> None:
    names = Names("8.8.8.8")
    async with outgoing_client(allowed=NOTHING, timeout_s=5, resolve=names) as client:
        with pytest.raises(HttpError):
            await client.get("http://public.example/")
    assert names.asked == []


@pytest.mark.parametrize("inside", ["http://127.0.0.1:{}/", "http://localhost:{}/", "https://169.254.169.254:{}/"])
async def test_a_redirect_inside_is_not_followed(inside: str) -> None:
    async with site() as named, site() as inner:
        named.redirects["/"] = inside.format(inner.port)
        allowed = AllowedHosts.of([f"127.0.0.1:{named.port}"])
        async with outgoing_client(allowed=allowed, timeout_s=5, follow_redirects=True) as client:
            with pytest.raises(HttpError):
                await client.get(f"http://127.0.0.1:{named.port}/")
        assert len(named.received) == 1
        assert inner.received == []


async def test_a_redirect_to_another_origin_gets_no_credential() -> None:
    async with site() as named, site() as other:
        named.redirects["/"] = f"http://127.0.0.1:{other.port}/there"
        allowed = AllowedHosts.of([f"127.0.0.1:{named.port}", f"127.0.0.1:{other.port}"])
        async with outgoing_client(allowed=allowed, timeout_s=5, follow_redirects=True) as client:
            response = await client.get(f"http://127.0.0.1:{named.port}/", headers={"authorization": "Bearer CANARY"})
        assert response.text == "fine"
        assert "CANARY" in named.received[0]
        assert "CANARY" not in other.received[0]


async def test_without_follow_redirects_none_is_followed() -> None:
    async with site() as named:
        named.redirects["/"] = "/there"
        allowed = AllowedHosts.of(["127.0.0.1"])
        async with outgoing_client(allowed=allowed, timeout_s=5) as client:
            assert (await client.get(f"http://127.0.0.1:{named.port}/")).is_redirect
        assert len(named.received) == 1


async def test_a_proxy_of_the_environment_does_not_get_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with outgoing_client(allowed=NOTHING, timeout_s=5, resolve=Names("10.0.0.1")) as client:
            with pytest.raises(HttpError):
                await client.get("https://inner.example/")
        assert proxy.received == []


async def test_names_are_looked_up_in_the_share_of_the_project_whichever_client_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate, asked = threading.Event(), list[str]()

    def slowly(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        if host.startswith("slow"):
            gate.wait(30)
        return [(2, 1, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", slowly)

    async def call(host: str, project: str) -> None:
        async with outgoing_client(allowed=AllowedHosts.of([host]), timeout_s=30, project=project) as made:
            await made.get(f"http://{host}:1/")

    try:
        calls = [asyncio.create_task(call(f"slow-{number}.example", "evil")) for number in range(6)]
        await eventually(lambda: len(asked) == 2)
        with pytest.raises(HttpError):
            await call("fast.example", "acme")
        assert sorted(asked) == ["fast.example", "slow-0.example", "slow-1.example"]
    finally:
        gate.set()
        await asyncio.gather(*calls, return_exceptions=True)


async def test_the_certificates_of_authorities_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0
    real = ssl.create_default_context

    def counted(*args: Any, **options: Any) -> ssl.SSLContext:  # noqa: ANN401 - handed on
        nonlocal made
        made += 1
        return real(*args, **options)

    client.authorities.cache_clear()  # as in a new process
    monkeypatch.setattr(ssl, "create_default_context", counted)
    for _ in range(3):
        async with outgoing_client(allowed=NOTHING, timeout_s=1):
            pass

    assert made == 1
