"""Whether the service lives and can answer, for probes that speak HTTP."""

import asyncio
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tidemill_kit.errors import isolated
from tidemill_kit.service import Dependency


class HttpHealth:
    """Serves `GET /healthz/live` and `GET /healthz/ready`, which asks every dependency now."""

    def __init__(self, dependencies: Sequence[Dependency], *, timeout_s: float) -> None:
        self._dependencies = dependencies
        self._timeout_s = timeout_s

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
        answers = await asyncio.gather(*(self._answers(each) for each in self._dependencies))
        if all(answers):
            return JSONResponse({"status": "ready"})
        silent = [each.name for each, answered in zip(self._dependencies, answers, strict=True) if not answered]
        return JSONResponse({"status": "waiting", "waiting_for": silent}, status_code=503)

    async def _answers(self, dependency: Dependency) -> bool:
        try:
            with isolated():
                async with asyncio.timeout(self._timeout_s):
                    await dependency.probe()
        except Exception:  # noqa: BLE001 - however a probe fails, the dependency is down; the service's own probes log it
            return False
        return True
