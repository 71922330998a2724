"""What happens around every HTTP request: trace, project, one line of log, metrics."""

import re
import time

import structlog
from opentelemetry.trace import SpanKind
from prometheus_client import Counter, Histogram
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidemill_inference.entrypoints.openai_replies import error_of
from tidemill_kit import telemetry
from tidemill_kit.application import Caller
from tidemill_kit.errors import RateLimited, TidemillError, Unauthenticated
from tidemill_kit.grpc_context import bind_call

HTTP_REQUESTS = Counter("tidemill_http", "HTTP requests answered.", ["route", "status"])
HTTP_SECONDS = Histogram("tidemill_http_seconds", "Time from a request's arrival to its end.", ["route"])

PROJECT_HEADER = "OpenAI-Project"
_PROJECT = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_ROUTES = ("/v1/chat/completions", "/v1/models", "/healthz")

_log = structlog.get_logger()


class HttpEdge:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0
        route = next((each for each in _ROUTES if scope["path"].startswith(each)), "other")
        structlog.contextvars.clear_contextvars()

        async def noting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        headers = dict(scope["headers"])
        parent = headers.get(telemetry.TRACEPARENT.encode(), b"").decode("latin-1")
        with telemetry.span(f"{scope['method']} {route}", parent=parent, kind=SpanKind.SERVER):
            try:
                await self._app(scope, receive, noting)
            finally:
                duration_s = time.perf_counter() - started
                HTTP_REQUESTS.labels(route, str(status)).inc()
                HTTP_SECONDS.labels(route).observe(duration_s)
                log = _log.debug if route == "/healthz" else _log.info
                log("http_finished", route=route, status=status, duration_s=round(duration_s, 4))


def caller_of(http: HttpRequest) -> Caller:
    """Return who calls, and be that caller for the rest of the request.

    Raises:
        Unauthenticated: the project is missing, or is no name.

    """
    project = http.headers.get(PROJECT_HEADER, "")
    if not _PROJECT.fullmatch(project):
        message = (
            f"send your project in the header {PROJECT_HEADER} (OpenAI's clients: project=...): 1 to 63 characters of "
            "a-z, 0-9 and -, starting and ending with a letter or digit"
        )
        raise Unauthenticated(message)
    caller = Caller(project=project)
    structlog.contextvars.bind_contextvars(project=project)
    bind_call(caller, remaining_s=None)
    return caller


def error_response(error: TidemillError) -> Response:
    """Return an error in OpenAI's shape."""
    status, body = error_of(error)
    headers = {"Retry-After": str(max(1, round(error.retry_after_s)))} if isinstance(error, RateLimited) else None
    return JSONResponse(body, status_code=status, headers=headers)
