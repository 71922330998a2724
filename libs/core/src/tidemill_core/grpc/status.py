"""Errors on the wire: the kit's tree as google.rpc.Status, and back.

Every error carries one ErrorInfo (reason, domain "tidemill", metadata), a BadRequest where fields are to blame, and
RetryInfo where waiting helps.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from tidemill_core import errors
from tidemill_core.errors import TidemillError, Violation

DOMAIN = "tidemill"

M = TypeVar("M", bound=Message)

_CODES: dict[type[TidemillError], grpc.StatusCode] = {
    errors.InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.Conflict: grpc.StatusCode.ABORTED,
    errors.PreconditionFailed: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.RateLimited: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.DependencyUnavailable: grpc.StatusCode.UNAVAILABLE,
}
_CLASSES = {code: kind for kind, code in _CODES.items()} | {
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidInput,
    grpc.StatusCode.CANCELLED: errors.DependencyUnavailable,  # by the server: it stops
}

# HTTP/2 peers take 8 KB of metadata by default, and a status travels twice: as text and as details.
_MAX_MESSAGE = 1024
_MAX_VIOLATIONS = 12
_MAX_DESCRIPTION = 200
_MAX_METADATA_VALUE = 200
_DEFAULT_PAUSE_S = 1.0
_BLAME = "blame"

_TOO_LARGE = ("larger than max", "metadata size exceeds")
"""How gRPC itself words a message or metadata beyond a size limit, which shares its code with overload."""


def code_of(error: TidemillError) -> grpc.StatusCode:
    """Return the code of the nearest class of the tree."""
    return next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), grpc.StatusCode.INTERNAL)


def to_status(error: TidemillError) -> grpc.Status:
    """Return what the server answers with."""
    metadata = _cut(error.metadata) | {_BLAME: error.blame}
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)]
    if isinstance(error, errors.InvalidInput) and error.violations:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description[:_MAX_DESCRIPTION])
            for v in error.violations[:_MAX_VIOLATIONS]
        ]
        details.append(error_details_pb2.BadRequest(field_violations=violations))
    if isinstance(error, errors.RateLimited):
        pause = error_details_pb2.RetryInfo()
        pause.retry_delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        details.append(pause)
    status = status_pb2.Status(code=code_of(error).value[0], message=error.message[:_MAX_MESSAGE])
    for detail in details:
        status.details.add().Pack(detail)
    return rpc_status.to_status(status)


def from_rpc_error(failure: grpc.aio.AioRpcError, *, dependency: str) -> TidemillError:
    """Return the kit's error for what a call of `dependency` ended with.

    The class follows the code; reason and metadata are the server's, so that a reason unknown here is kept as it is.
    """
    details = _details(failure)
    info = _first(details, error_details_pb2.ErrorInfo())
    message = failure.details() or failure.code().name
    error: TidemillError
    match _CLASSES.get(failure.code(), errors.Internal):
        case errors.InvalidInput if info.reason == errors.RequestIdReused.reason:
            error = errors.RequestIdReused(info.metadata["request_id"])
        case errors.InvalidInput:
            violations = _first(details, error_details_pb2.BadRequest()).field_violations
            blamed = [Violation(v.field, v.description) for v in violations]
            error = errors.InvalidInput(message, violations=blamed)
        case errors.RateLimited if info.domain != DOMAIN and any(words in message for words in _TOO_LARGE):
            error = errors.InvalidInput(message)
        case errors.RateLimited:
            pause = _first(details, error_details_pb2.RetryInfo()).retry_delay.ToNanoseconds() / 1e9
            error = errors.RateLimited(message, retry_after_s=pause or _DEFAULT_PAUSE_S)
        case errors.DependencyUnavailable:
            error = errors.DependencyUnavailable(message, dependency=info.metadata.get("dependency", dependency))
        case errors.Internal if info.domain != DOMAIN:
            error = _not_by_a_service(failure, dependency=dependency)
        case plain:
            error = plain(message)
    if info.domain == DOMAIN:
        metadata = dict(info.metadata)
        blame = metadata.pop(_BLAME, "")
        if blame in set(errors.Blame) - {error.blame}:
            error.blame = errors.Blame(blame)
        error.reason = info.reason
        error.metadata |= metadata
    return error


def _not_by_a_service(failure: grpc.aio.AioRpcError, *, dependency: str) -> errors.DependencyUnavailable:
    """Return what a failure means that no handler answered with: services name a reason, also where they break."""
    message = f"{dependency} aborted the call ({failure.code().name}): try again later"
    if failure.code() is grpc.StatusCode.UNIMPLEMENTED:
        message = f"{dependency} does not implement the call: it is an older version, or another service"
    return errors.DependencyUnavailable(message, dependency=dependency)


def _cut(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return what fits: an id that a caller made up may be of any length."""
    return {key: value[:_MAX_METADATA_VALUE] for key, value in metadata.items()}


def _details(failure: grpc.aio.AioRpcError) -> Sequence[any_pb2.Any]:
    packed = (failure.trailing_metadata() or grpc.aio.Metadata()).get("grpc-status-details-bin")
    return status_pb2.Status.FromString(packed).details if isinstance(packed, bytes) else []


def _first(details: Sequence[any_pb2.Any], empty: M) -> M:
    """Return the first detail of the type of `empty`, or `empty`."""
    for detail in details:
        if detail.Unpack(empty):
            break
    return empty
