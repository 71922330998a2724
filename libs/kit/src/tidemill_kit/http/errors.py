"""Errors of HTTP itself, and the status and headers that each error of the tree is answered with."""

import math
from collections.abc import Callable, Mapping, Sequence

from starlette.responses import Response

from tidemill_core.errors import (
    AlreadyExists,
    Conflict,
    DeadlineExceeded,
    DependencyTimedOut,
    DependencyUnavailable,
    InvalidInput,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    RateLimited,
    TidemillError,
    Unauthenticated,
    Violation,
)

ErrorResponse = Callable[[TidemillError], Response]
"""Makes the answer to a request that failed, in the shape of an API."""

_SHOWN_CHARACTERS = 80


def shown(text: str) -> str:
    """Return a text, cut where it is long."""
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


class BodyTooLarge(InvalidInput):
    """The request's body is above the limit; the rest of it was not read."""

    reason = "BODY_TOO_LARGE"

    def __init__(self, *, limit: int) -> None:
        text = f"has more than {limit} bytes: send less"
        super().__init__(f"the body {text}", violations=[Violation("body", text)], limit=limit)


class EncodingNotSupported(InvalidInput):
    """The request's body is compressed in a way that is not known here."""

    reason = "ENCODING_NOT_SUPPORTED"

    def __init__(self, encoding: str, *, supported: Sequence[str]) -> None:
        text = f"is {shown(encoding)}; send one of {', '.join(supported)}"
        super().__init__(violations=[Violation("Content-Encoding", text)])


class LengthsContradict(InvalidInput):
    """A request has two lengths of its body, of which a proxy may have used the other one (request smuggling)."""

    reason = "LENGTHS_CONTRADICT"

    def __init__(self) -> None:
        super().__init__("Content-Length and Transfer-Encoding are both sent: send one of them")


class BodyTooSlow(DeadlineExceeded):
    """The request's body did not come in time."""

    reason = "BODY_TOO_SLOW"


class RouteNotFound(NotFound):
    """Nothing is served at the path."""

    reason = "ROUTE_NOT_FOUND"


class MethodNotAllowed(InvalidInput):
    """Something is served at the path, but not by this method."""

    reason = "METHOD_NOT_ALLOWED"


STATUSES: Mapping[type[TidemillError], int] = {
    InvalidInput: 400,
    MethodNotAllowed: 405,
    BodyTooLarge: 413,
    EncodingNotSupported: 415,
    PreconditionFailed: 400,
    Unauthenticated: 401,
    PermissionDenied: 403,
    NotFound: 404,
    BodyTooSlow: 408,
    AlreadyExists: 409,
    Conflict: 409,
    RateLimited: 429,
    DependencyUnavailable: 503,
    DependencyTimedOut: 504,
    DeadlineExceeded: 504,
}
"""As google.rpc.Code has it. PreconditionFailed, for which waiting a second does not help, is not 409."""


def status_of(error: TidemillError) -> int:
    """Return the status of the nearest class of the tree."""
    return next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), 500)


def headers_of(error: TidemillError) -> dict[str, str]:
    """Return what the answer says beside its body: when to come again, and that the connection ends."""
    headers = {}
    if isinstance(error, RateLimited):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"  # as RFC 9110, 11.6.1 asks of every 401
    if isinstance(error, BodyTooLarge | BodyTooSlow | LengthsContradict):
        headers["Connection"] = "close"  # the rest of the body is not waited for
    return headers
