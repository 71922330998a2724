"""The HTTP server as a component: it shares the process with the rest of the service."""

import signal

import httpx
import pytest
from starlette.applications import Starlette

from services.inference.tests.openai_api.apis import ScriptedAnswers, open_api
from tidemill_kit.http.server import HttpPortTaken, HttpServer


async def test_a_port_that_is_taken_is_named_with_what_to_do() -> None:
    async with open_api(ScriptedAnswers()) as api:
        second = HttpServer(
            Starlette(), host="127.0.0.1", port=api.server.port, grace_s=1.0, setting="INFERENCE_HTTP_PORT"
        )
        with pytest.raises(HttpPortTaken, match=f"127.0.0.1:{api.server.port}.*INFERENCE_HTTP_PORT"):
            await second.start()
        await second.stop()


async def test_signals_are_left_to_the_service() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    async with open_api(ScriptedAnswers()):
        assert {number: signal.getsignal(number) for number in before} == before


async def test_a_stopped_server_listens_no_more_and_stops_only_once() -> None:
    async with open_api(ScriptedAnswers()) as api:
        assert (await api.http.get("/healthz/live")).status_code == 200
        await api.server.stop()
        with pytest.raises(httpx.ConnectError):
            await api.http.get("/healthz/live")
