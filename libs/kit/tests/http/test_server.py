"""Connections as clients, proxies and those who mean ill open them, on a real server."""

import asyncio
import gc
import signal
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tidemill_kit.http.application import application
from tidemill_kit.http.connections import ConnectionLimits
from tidemill_kit.http.exchange import Exchange
from tidemill_kit.http.rpc import error_response
from tidemill_kit.http.server import HttpPortTaken, HttpServer
from tidemill_testkit.access import access_of

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


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
    async with asyncio.timeout(30):
        return not await reader.read(1)


async def answer(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(30):
        await reader.readuntil(b"\r\n\r\n")
        return await reader.readexactly(5)


@pytest.mark.parametrize("sent", [b"", b"GET / HTT", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
async def test_headers_that_do_not_come_are_not_waited_for(sent: bytes) -> None:
    async with serving(header_s=0.2) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)

        assert await closed(reader)
        writer.close()


async def test_a_client_that_offers_another_protocol_is_answered_in_this_one() -> None:
    async def echo(request: Request) -> PlainTextResponse:
        return PlainTextResponse(await request.body())

    server = HttpServer(Starlette(routes=[Route("/", echo, methods=["POST"])]), host="127.0.0.1", port=0, grace_s=1)
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for _ in range(2):
        writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n")
        writer.write(b"Content-Length: 5\r\n\r\nhello")
        assert await answer(reader) == b"hello"
    writer.close()
    await server.stop()


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


async def test_a_port_that_is_taken_is_named_with_what_to_do() -> None:
    async with serving() as port:
        second = HttpServer(Starlette(), host="127.0.0.1", port=port, grace_s=1.0, setting="PROBE_HTTP_PORT")
        with pytest.raises(HttpPortTaken, match=f"127.0.0.1:{port}.*PROBE_HTTP_PORT"):
            await second.start()
        await second.stop()


async def test_signals_are_left_to_the_service() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    async with serving():
        assert {number: signal.getsignal(number) for number in before} == before


async def test_a_request_that_outlives_the_grace_is_answered_with_why_it_ended() -> None:
    async def endless(request: Request) -> PlainTextResponse:
        entered.set()
        async with Exchange.of(request.scope).attended():
            await asyncio.Event().wait()
        raise AssertionError

    entered, ended = asyncio.Event(), asyncio.Event()
    app = application(
        [Route("/", endless)],
        dependencies=[],
        error_response=error_response,
        served="/",
        access=access_of(),
        admission=None,
        hosts=(),
        hosts_setting="PROBE_HTTP_HOSTS",
    )

    async def whole(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)
        ended.set()

    server = HttpServer(whole, host="127.0.0.1", port=0, grace_s=0.2)
    await server.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        call = asyncio.ensure_future(client.get("/"))
        await entered.wait()
        await server.stop()
        assert ended.is_set()
        answered = await call

    assert (answered.status_code, "the service is stopping" in answered.text) == (503, True)


async def test_a_stopped_server_listens_no_more() -> None:
    async with serving() as port:
        pass

    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection("127.0.0.1", port)


async def test_what_a_request_held_is_freed_without_a_collection_of_garbage() -> None:
    held: list[weakref.ref[object]] = []

    class Held:
        """Something that a handler leaves with its request."""

    async def hello(request: Request) -> PlainTextResponse:
        request.scope["held"] = Held()
        held.append(weakref.ref(request.scope["held"]))
        return PlainTextResponse("hello")

    app = application(
        [Route("/", hello)],
        dependencies=(),
        error_response=error_response,
        served="/",
        access=access_of(),
        admission=None,
        hosts=(),
        hosts_setting="HOSTS",
    )
    gc.disable()
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            assert (await client.get("/")).text == "hello"
        assert [each() for each in held] == [None]
    finally:
        gc.enable()
