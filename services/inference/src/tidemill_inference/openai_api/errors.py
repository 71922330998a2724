"""Errors in the shape of OpenAI's API.

`{"error": {"message", "type", "param", "code"}}`: `message` says what to do next, `code` is the reason of the kit's
tree in lower case, `param` is what the caller sent, as it is called there. OpenAI's clients try 408, 409, 429 and
everything from 500 on again by themselves, so PreconditionFailed, for which waiting a second does not help, is 400.
"""

import math
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response

from tidemill_core.errors import Conflict, DeadlineExceeded, DependencyTimedOut, InvalidInput, TidemillError
from tidemill_inference.budgets.domain.budget import Kind
from tidemill_inference.budgets.domain.errors import BudgetExhausted
from tidemill_inference.deployments.domain.errors import DeploymentNotFound
from tidemill_inference.errors import PromptTooLong, ServiceNotNamed
from tidemill_inference.routing.domain.errors import CircuitOpen
from tidemill_kit.http.errors import BodyTooSlow, headers_of, status_of

_SERVER_ERRORS = 500
_NOT_IMPLEMENTED = 501
_LONG_S = 60.0
_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}


def error_body(error: TidemillError) -> dict[str, Any]:
    """Return the body of an error, which is also its event in a stream."""
    param, code = None, error.reason.lower()
    if isinstance(error, InvalidInput) and error.violations:
        param = error.violations[0].field
    if isinstance(error, DeploymentNotFound):
        param, code = "model", "model_not_found"  # OpenAI's own word
    if error.reason == PromptTooLong.reason:
        code = "context_length_exceeded"  # OpenAI's own word, which clients look for
    if isinstance(error, BudgetExhausted):  # ditto
        code = "insufficient_quota" if error.limited == Kind.COST.value else "rate_limit_exceeded"
    return {"error": {"message": error.message, "type": _type_of(error), "param": param, "code": code}}


def error_response(error: TidemillError) -> Response:
    """Return the answer to a request that failed."""
    headers = headers_of(error)
    if isinstance(error, CircuitOpen):
        headers["Retry-After"] = str(max(1, math.ceil(error.rest_s)))
    if isinstance(error, CircuitOpen | DependencyTimedOut | DeadlineExceeded) or "retried" in error.metadata:
        headers["x-should-retry"] = "false"  # OpenAI's clients obey: it was tried as often as helps
    if isinstance(error, BudgetExhausted):
        headers.update(error.limits.headers())
        if error.retry_after_s > _LONG_S:
            headers["x-should-retry"] = "false"  # they would try it again within seconds
    return JSONResponse(error_body(error), status_code=status_of_error(error), headers=headers)


def status_of_error(error: TidemillError) -> int:
    """Return the HTTP status of an error."""
    return _NOT_IMPLEMENTED if isinstance(error, ServiceNotNamed) else status_of(error)


def _type_of(error: TidemillError) -> str:
    """Return OpenAI's type of the error."""
    if isinstance(error, Conflict):
        return "conflict_error"
    if isinstance(error, BudgetExhausted):
        return "insufficient_quota" if error.limited == Kind.COST.value else error.limited
    if isinstance(error, ServiceNotNamed | BodyTooSlow):
        return "invalid_request_error"
    status = status_of(error)
    return _TYPES.get(status, "invalid_request_error" if status < _SERVER_ERRORS else "server_error")
