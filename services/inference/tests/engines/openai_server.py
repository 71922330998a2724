"""A small OpenAI-compatible server whose every answer a test decides."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tidemill_inference.engines.ports import ProviderIdentity
from tidemill_kit.http.server import HttpServer

Handler = Callable[[Request], Awaitable[Response]]
WORDS = ("os.walk ", "walks ", "a tree.")


@dataclass
class OpenAiServer:
    """What it was asked, and how it answers."""

    answer: Handler
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    url: str = ""

    async def complete(self, request: Request) -> Response:
        self.asked.append(await request.json())
        self.headers += request.headers.raw
        self.keys.append(request.headers.get("authorization", ""))
        return await self.answer(request)


@asynccontextmanager
async def openai_server(answer: Handler) -> AsyncIterator[OpenAiServer]:
    server = OpenAiServer(answer)
    app = Starlette(routes=[Route("/v1/chat/completions", server.complete, methods=["POST"])])
    http = HttpServer(app, host="127.0.0.1", port=0, grace_s=1)
    await http.start()
    server.url = f"http://127.0.0.1:{http.port}/v1"
    try:
        yield server
    finally:
        await http.stop()


def streams(*events: object, pause_s: float = 0.0, ended: asyncio.Event | None = None) -> Handler:
    """Answer with these events, then [DONE]; `ended` is set when the client is gone or has everything."""

    async def handle(_request: Request) -> Response:
        async def body() -> AsyncIterator[str]:
            try:
                for event in events:
                    yield event if isinstance(event, str) else f"data: {json.dumps(event)}\n\n"
                    await asyncio.sleep(pause_s)
                yield "data: [DONE]\n\n"
            finally:
                if ended:
                    ended.set()

        return StreamingResponse(body(), media_type="text/event-stream")

    return handle


def says(status: int, text: str, *, headers: dict[str, str] | None = None) -> Handler:
    """Answer with this status and body."""

    async def handle(_request: Request) -> Response:
        return PlainTextResponse(text, status_code=status, headers=headers)

    return handle


def in_turn(*handlers: Handler) -> Handler:
    """Answer each request as the next handler does, and all further ones as the last."""
    waiting = list(handlers)

    async def handle(request: Request) -> Response:
        handler = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return await handler(request)

    return handle


def hangs(*events: object) -> Handler:
    """Send these events, and then nothing more, until the client leaves."""

    async def handle(_request: Request) -> Response:
        async def body() -> AsyncIterator[str]:
            for event in events:
                yield f"data: {json.dumps(event)}\n\n"
            await asyncio.Event().wait()

        return StreamingResponse(body(), media_type="text/event-stream")

    return handle


def breaks_off(*events: object) -> Handler:
    """Send these events, and then break the connection."""

    async def handle(_request: Request) -> Response:
        async def body() -> AsyncIterator[str]:
            for event in events:
                yield f"data: {json.dumps(event)}\n\n"
            await asyncio.sleep(0)
            raise ConnectionAbortedError

        return StreamingResponse(body(), media_type="text/event-stream")

    return handle


def chunk(text: str | None = None, *, finish: str | None = None) -> dict[str, Any]:
    delta = {} if text is None else {"content": text}
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }


def calls_a_tool(
    index: int | None = 0, *, call: str = "t1", name: str = "look", arguments: str = "{}"
) -> dict[str, Any]:
    said = {"index": index, "id": call, "type": "function", "function": {"name": name, "arguments": arguments}}
    return chunk() | {"choices": [{"index": 0, "delta": {"tool_calls": [said]}, "finish_reason": None}]}


MADE_BY = ProviderIdentity(provider_model="m")
"""What these chunks say of themselves."""
USAGE = chunk() | {"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}}
GOOD = (*(chunk(word) for word in WORDS), chunk(finish="stop"), USAGE)
