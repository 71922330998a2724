"""Unary RPCs as JSON over HTTP, by descriptor: `POST /<package.Service>/<Method>`, as the Connect protocol has it.

Bodies are proto JSON, requests by either name of a field and replies by the contract's. The header `tidemill-project`
names the project, `connect-timeout-ms` the time that the caller waits. An RPC passes the edge of gRPC, so that roles,
limits, errors, log and metrics are the same. An error is a google.rpc.Status.
"""

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NoReturn

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.message import Message
from google.rpc import status_pb2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tidemill_core.errors import InvalidInput, TidemillError, Violation
from tidemill_core.grpc.context import PROJECT
from tidemill_core.grpc.status import to_status
from tidemill_core.tracing import TRACEPARENT
from tidemill_kit.grpc.request_items import check_json_items
from tidemill_kit.grpc.server import Registration, Services
from tidemill_kit.http.application import application
from tidemill_kit.http.bodies import object_of
from tidemill_kit.http.errors import headers_of, status_of
from tidemill_kit.http.exchange import Exchange
from tidemill_kit.http.health import Probed
from tidemill_kit.http.settings import HttpSettings, RpcHttpSettings

TIMEOUT = "connect-timeout-ms"

_MAX_TIMEOUT_DIGITS = 10  # as Connect limits it
_DETAILS = "grpc-status-details-bin"
_HTTP_STATUSES = {1: 499, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 14: 503, 16: 401}
"""Of google.rpc.Code, as google/rpc/code.proto maps them; others are 500."""

Handler = Callable[[bytes, object], Awaitable[Message]]


class JsonRpcs:
    """The unary RPCs of servicers as routes."""

    def __init__(self, servicers: Sequence[Registration], settings: HttpSettings) -> None:
        self._services = Services(servicers)
        self._edge = self._services.edge(settings)
        self._max_body_bytes = settings.max_body_bytes
        self._max_items = settings.max_request_items

    def routes(self) -> list[Route]:
        """Return one route for each RPC."""
        return [
            Route(method, self._endpoint(method, handler), methods=["POST"])
            for method, handler in self._services.handlers.items()
            if not handler.request_streaming and not handler.response_streaming
        ]

    def _endpoint(
        self, method: str, handler: "grpc.RpcMethodHandler[Any, Any]"
    ) -> Callable[[Request], Awaitable[Response]]:
        service, _, name = method.lstrip("/").partition("/")
        declared = descriptor_pool.Default().FindServiceByName(service).FindMethodByName(name)
        kind = message_factory.GetMessageClass(declared.input_type)
        details = _Details(method)

        async def found(_details: object) -> "grpc.RpcMethodHandler[Any, Any]":
            return handler

        async def answer(http: Request) -> Response:
            exchange = Exchange.of(http.scope)
            try:
                given = await exchange.body(at_most=self._max_body_bytes)
                message = _parsed(kind(), given, max_items=self._max_items)
                behind = await self._edge.intercept_service(found, details)  # type: ignore[arg-type]
                serve: Any = behind and behind.unary_unary
                async with exchange.attended():
                    reply: Message = await serve(message.SerializeToString(), _Context(exchange))
            except _Aborted as aborted:
                return _error(aborted.status, {})
            except TidemillError as error:
                exchange.reason = error.reason
                return error_response(error)
            return JSONResponse(_json(reply))

        return answer


def rpc_application(
    servicers: Sequence[Registration],
    settings: RpcHttpSettings,
    *,
    dependencies: Sequence[Probed],
    routes: Iterable[BaseRoute] = (),
) -> Starlette:
    """Return an application of a service's own routes, health, and, where `http_rpcs` says so, the RPCs as JSON."""
    rpcs = JsonRpcs(servicers, settings).routes() if settings.http_rpcs else []
    return application(
        [*rpcs, *routes],
        dependencies=dependencies,
        error_response=error_response,
        served=f"unary RPCs are at POST /<package.Service>/<Method> where {settings.variable('http_rpcs')} is true",
        hosts=settings.served_hosts,
        hosts_setting=settings.variable("http_hosts"),
        cors_origins=settings.cors_origins,
    )


def error_response(error: TidemillError) -> Response:
    """Return an error as a google.rpc.Status."""
    status = _status(to_status(error))
    return _error(status, headers_of(error), http_status=status_of(error))


class _Details:
    """What the edge asks of a call before it begins; implements `grpc.HandlerCallDetails`."""

    def __init__(self, method: str) -> None:
        self.method = method


class _Aborted(Exception):
    """The RPC ended with a status."""

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.status = status


class _Context:
    """As much of `grpc.aio.ServicerContext` as the edge and unary handlers use."""

    def __init__(self, exchange: Exchange) -> None:
        headers = exchange.headers
        self._metadata = [(name, value) for name in (PROJECT, TRACEPARENT) for value in headers.getlist(name)]
        self._until = _until(exchange.header(TIMEOUT))

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return self._metadata

    def time_remaining(self) -> float | None:
        return None if self._until is None else max(0.0, self._until - time.monotonic())

    def code(self) -> None:
        """No handler sets one: they raise."""

    async def write(self, _message: object) -> NoReturn:
        raise NotImplementedError  # of streams

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        raise _Aborted(_status(status))


def _until(timeout_ms: str) -> float | None:
    """Return the deadline on time.monotonic().

    Raises:
        InvalidInput: it is no number of milliseconds.

    """
    if not timeout_ms:
        return None
    if not (timeout_ms.isascii() and timeout_ms.isdecimal() and len(timeout_ms) <= _MAX_TIMEOUT_DIGITS):
        text = f"is no number of milliseconds with at most {_MAX_TIMEOUT_DIGITS} digits"
        raise InvalidInput.of(Violation(field=TIMEOUT, description=text))
    return time.monotonic() + int(timeout_ms) / 1000


def _parsed(message: Message, body: bytes, *, max_items: int) -> Message:
    """Return the message of a body.

    Raises:
        InvalidInput: it is no proto JSON of it, or has more items than a request of gRPC may have.

    """
    given = object_of(body or b"{}")
    check_json_items(given, limit=max_items)
    try:
        json_format.ParseDict(dict(given), message)
    except json_format.ParseError as error:
        raise InvalidInput.of(Violation(field="body", description=str(error))) from None
    return message


def _json(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _status(status: grpc.Status) -> status_pb2.Status:
    packed = dict(status.trailing_metadata or ())[_DETAILS]
    assert isinstance(packed, bytes)  # noqa: S101 - the edge made it
    return status_pb2.Status.FromString(packed)


def _error(status: status_pb2.Status, headers: dict[str, str], *, http_status: int | None = None) -> Response:
    code = http_status or _HTTP_STATUSES.get(status.code, 500)
    return JSONResponse(json_format.MessageToDict(status), status_code=code, headers=headers)
