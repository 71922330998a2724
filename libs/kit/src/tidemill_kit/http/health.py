"""Liveness and readiness for HTTP probes."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tidemill_core.errors import isolated

_FRESH_S = 1.0


class Probed(Protocol):
    """Something outside that must answer; `service.Dependency` is one."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def probe(self) -> Callable[[], Awaitable[object]]:
        """Raises where it does not answer."""

    @property
    def needed_to_serve(self) -> bool:
        """Whether answers need it."""


class HttpHealth:
    """Serves `GET /healthz/live` and `GET /healthz/ready`, which asks what answers need, once a second at most."""

    def __init__(self, dependencies: Sequence[Probed], *, timeout_s: float) -> None:
        self._dependencies = [each for each in dependencies if each.needed_to_serve]
        self._timeout_s = timeout_s
        self._asking = asyncio.Lock()
        self._asked_at = -math.inf
        self._silent: Sequence[str] = ()

    def routes(self) -> list[Route]:
        """Return what Starlette is to serve."""
        return [
            Route("/healthz/live", self.live, methods=["GET"]),
            Route("/healthz/ready", self.ready, methods=["GET"]),
        ]

    async def live(self, _request: Request) -> Response:
        """Answer at all."""
        return JSONResponse({"status": "live"})

    async def ready(self, _request: Request) -> Response:
        """Answer 200, or 503 with the names of the dependencies that do not answer."""
        async with self._asking:
            if time.monotonic() - self._asked_at > _FRESH_S:
                answers = await asyncio.gather(*(self._answers(each) for each in self._dependencies))
                named = zip(self._dependencies, answers, strict=True)
                self._silent = [each.name for each, answered in named if not answered]
                self._asked_at = time.monotonic()
        if self._silent:
            return JSONResponse({"status": "waiting", "waiting_for": self._silent}, status_code=503)
        return JSONResponse({"status": "ready"})

    async def _answers(self, dependency: Probed) -> bool:
        try:
            with isolated():
                async with asyncio.timeout(self._timeout_s):
                    await dependency.probe()
        except Exception:  # noqa: BLE001 - however a probe fails, the dependency is down; the service's own probes log it
            return False
        return True
