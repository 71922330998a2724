"""An HTTP API put together: its routes, probes, the edge around them, and errors in one shape."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from tidemill_core.errors import InvalidInput, TidemillError
from tidemill_kit.access.access import Access
from tidemill_kit.grpc.admission import Admission
from tidemill_kit.http.errors import ErrorResponse, MethodNotAllowed, RouteNotFound
from tidemill_kit.http.exchange import DEFAULT_STALL_S, Exchange, HttpEdge
from tidemill_kit.http.health import HttpHealth, Probed

_PROBE_TIMEOUT_S = 5.0


def application(  # noqa: PLR0913 - all that an API chooses
    routes: Iterable[BaseRoute],
    *,
    dependencies: Sequence[Probed],
    error_response: ErrorResponse,
    served: str,
    access: Access,
    admission: Admission | None,
    hosts: Collection[str],
    hosts_setting: str,
    cors_origins: Sequence[str] = (),
    stall_s: float = DEFAULT_STALL_S,
) -> Starlette:
    """Return the application; `served` is what a caller of another path is pointed to. For the rest see `HttpEdge`."""
    edge = Middleware(
        HttpEdge,
        error_response=error_response,
        access=access,
        admission=admission,
        hosts=hosts,
        hosts_setting=hosts_setting,
        stall_s=stall_s,
    )
    app = Starlette(
        routes=[*routes, *HttpHealth(dependencies, timeout_s=_PROBE_TIMEOUT_S).routes()],
        middleware=[*_cors(cors_origins), edge],
        exception_handlers={HTTPException: _not_served(served, error_response)},
    )
    app.router.redirect_slashes = False  # a client that follows would send its request again
    return app


def _cors(origins: Sequence[str]) -> list[Middleware]:
    """Return what lets pages of these origins ask, around all else, so that they may read errors too."""
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "retry-after", "x-tidemill-cache"],
        )
    ]


def _not_served(served: str, error_response: ErrorResponse) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Return what answers Starlette's own refusals, of paths and methods, in the API's shape."""

    async def answer(http: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these
        refusal: TidemillError
        match error.status_code:
            case 404:
                refusal = RouteNotFound(f"nothing is served here: {served}")
            case 405:
                allowed = (error.headers or {}).get("Allow", "")
                refusal = MethodNotAllowed(f"{Exchange.of(http.scope).route} takes {allowed} only")
            case _:
                refusal = InvalidInput(error.detail)
        Exchange.of(http.scope).reason = refusal.reason
        response = error_response(refusal)
        response.headers.update(error.headers or {})
        return response

    return answer
