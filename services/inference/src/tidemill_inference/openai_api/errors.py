"""Errors in the shape of OpenAI's API.

`{"error": {"message", "type", "param", "code"}}`: `message` says what to do next, `code` is the reason of the kit's
tree in lower case, `param` is what the caller sent, as it is called there. OpenAI's clients try 408, 409, 429 and
everything from 500 on again by themselves, so PreconditionFailed, for which waiting a second does not help, is 400.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import JSONResponse, Response

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
from tidemill_inference.errors import DeploymentNotFound, PromptTooLong, ServiceNotNamed
from tidemill_inference.http.json_bodies import shown


class BodyTooLarge(InvalidInput):
    """The request's body is above the limit; the rest of it was not read."""

    reason = "BODY_TOO_LARGE"

    def __init__(self, *, limit: int) -> None:
        text = f"has more than {limit} bytes: send less"
        super().__init__(f"the body {text}", violations=[Violation(field="body", description=text)], limit=limit)


class EncodingNotSupported(InvalidInput):
    """The request's body is compressed in a way that is not known here."""

    reason = "ENCODING_NOT_SUPPORTED"

    def __init__(self, encoding: str, *, supported: Sequence[str]) -> None:
        text = f"is {shown(encoding)}; send one of {', '.join(supported)}"
        super().__init__(
            f"Content-Encoding: {text}", violations=[Violation(field="Content-Encoding", description=text)]
        )


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


_STATUSES: Mapping[type[TidemillError], tuple[int, str]] = {
    InvalidInput: (400, "invalid_request_error"),
    MethodNotAllowed: (405, "invalid_request_error"),
    BodyTooLarge: (413, "invalid_request_error"),
    EncodingNotSupported: (415, "invalid_request_error"),
    PreconditionFailed: (400, "invalid_request_error"),
    ServiceNotNamed: (501, "invalid_request_error"),
    Unauthenticated: (401, "authentication_error"),
    PermissionDenied: (403, "permission_error"),
    NotFound: (404, "invalid_request_error"),
    BodyTooSlow: (408, "invalid_request_error"),
    AlreadyExists: (409, "invalid_request_error"),
    Conflict: (409, "conflict_error"),
    RateLimited: (429, "rate_limit_error"),
    DependencyUnavailable: (503, "server_error"),
    DependencyTimedOut: (504, "server_error"),
    DeadlineExceeded: (504, "server_error"),
}


def error_body(error: TidemillError) -> dict[str, Any]:
    """Return the body of an error, which is also its event in a stream."""
    _, kind = _status_of(error)
    param, code = None, error.reason.lower()
    if isinstance(error, InvalidInput) and error.violations:
        param = error.violations[0].field
    if isinstance(error, DeploymentNotFound):
        param, code = "model", "model_not_found"  # OpenAI's own word
    if error.reason == PromptTooLong.reason:
        param, code = "messages", "context_length_exceeded"  # OpenAI's own word, which clients look for
    return {"error": {"message": error.message, "type": kind, "param": param, "code": code}}


def error_response(error: TidemillError) -> Response:
    """Return the answer to a request that failed."""
    status, _ = _status_of(error)
    headers = {}
    if isinstance(error, RateLimited):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, BodyTooLarge | BodyTooSlow | LengthsContradict):
        headers["Connection"] = "close"  # the rest of the body is not waited for
    if isinstance(error, DependencyTimedOut | DeadlineExceeded) or "retried" in error.metadata:
        headers["x-should-retry"] = "false"  # OpenAI's clients obey: it was tried as often as helps
    return JSONResponse(error_body(error), status_code=status, headers=headers)


def _status_of(error: TidemillError) -> tuple[int, str]:
    """Return status and type of the nearest class of the tree."""
    return next((_STATUSES[kind] for kind in type(error).__mro__ if kind in _STATUSES), (500, "server_error"))
