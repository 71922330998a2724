"""Requests of an ASGI application without an HTTP client between: for tests that send thousands of them."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Message


@dataclass(frozen=True, slots=True)
class AsgiResponse:
    """What the application sent; the names are those of httpx."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def text(self) -> str:
        """The body."""
        return self.content.decode()

    @property
    def is_error(self) -> bool:
        """Whether the status is an error's."""
        return self.status_code >= 400  # noqa: PLR2004 - HTTP's

    def json(self) -> Any:  # noqa: ANN401 - any JSON
        """Return the body."""
        return json.loads(self.content)


class AsgiClient:
    """Sends requests from 127.0.0.1 to a host named localhost, each with all of its body at once."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def post(self, path: str, *, headers: Mapping[str, str], content: bytes = b"{}") -> AsgiResponse:
        """Post JSON."""
        return await self.request(
            "POST", path, headers={"content-type": "application/json", **headers}, content=content
        )

    async def request(
        self, method: str, path: str, *, headers: Mapping[str, str], content: bytes = b""
    ) -> AsgiResponse:
        """Return the answer to a request, which runs in a task of its own, as a server runs it."""
        exchange = _Exchange(content)
        raw = {"host": "localhost", "content-length": str(len(content)), **headers}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote_to_bytes(path).decode("utf-8", "replace"),
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in raw.items()],
            "client": ("127.0.0.1", 50000),
            "server": ("localhost", 80),
        }
        await asyncio.create_task(self._run(scope, exchange))
        return exchange.response()

    async def _run(self, scope: dict[str, Any], exchange: "_Exchange") -> None:
        await self._app(scope, exchange.receive, exchange.send)


class _Exchange:
    def __init__(self, content: bytes) -> None:
        self._pending: bytes | None = content
        self._begun: Message = {}
        self._body = bytearray()
        self._done = asyncio.Event()

    async def receive(self) -> Message:
        if self._pending is None:  # a client stays until it is answered
            await self._done.wait()
            return {"type": "http.disconnect"}
        content, self._pending = self._pending, None
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begun = message
            return
        self._body += message.get("body", b"")
        if not message.get("more_body", False):
            self._done.set()

    def response(self) -> AsgiResponse:
        headers = {name.decode(): value.decode() for name, value in self._begun["headers"]}
        return AsgiResponse(self._begun["status"], headers, bytes(self._body))
