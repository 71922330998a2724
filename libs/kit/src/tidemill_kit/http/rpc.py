"""Unary RPCs as JSON over HTTP, by descriptor: `POST /<package.Service>/<Method>`, as the Connect protocol has it.

Bodies are proto JSON, requests by either name of a field and replies by the contract's. The header `tidemill-project`
names the project, `connect-timeout-ms` the time that the caller waits. An RPC passes the edge of gRPC, so that roles,
limits, errors, log and metrics are the same. An error is a google.rpc.Status.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, NoReturn, cast

from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.message import Message
from google.rpc import status_pb2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Scope

from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput, TidemillError
from tidemill_core.grpc.context import AUTHORIZATION, ON_BEHALF_OF, PROJECT
from tidemill_core.grpc.status import to_status
from tidemill_core.tracing import TRACEPARENT
from tidemill_kit.access.access import Access
from tidemill_kit.audit.calls import AuditedCall
from tidemill_kit.audit.trail import AuditTrail
from tidemill_kit.grpc.admission import Admission
from tidemill_kit.grpc.policies import policies_of
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
_PASSED_ON = (AUTHORIZATION, PROJECT, ON_BEHALF_OF, TRACEPARENT)


class HttpRpcs:
    """The unary RPCs of servicers over HTTP.

    `admission`, `access` and `audit` are what they share with the gRPC server of the process.
    """

    def __init__(
        self,
        servicers: Sequence[Registration],
        settings: HttpSettings,
        *,
        admission: Admission,
        access: Access,
        audit: AuditTrail | None,
    ) -> None:
        self._services = Services(servicers)
        self._policies = policies_of(self._services.names)
        self.access = access
        self.admission = admission
        self._edge = self._services.edge(settings, admission=admission, access=access, audit=audit)
        self._max_body_bytes = settings.max_body_bytes
        self._max_items = settings.max_request_items

    async def call(
        self,
        method: str,
        request: Message | AsyncIterator[Message],
        *,
        caller: Caller,
        exchange: Exchange | None = None,
    ) -> Message:
        """Call an RPC, as `/<package.Service>/<Method>`, for a route that has admitted the caller of `exchange`.

        `request` is its message, or those of a stream.

        Raises:
            TidemillError: as the RPC does, or because too many are in work.

        """
        context = _Context([], peer=_peer_of(exchange.scope) if exchange else "")
        return await self._served(method, request, context, caller=caller)

    async def admit(self, exchange: Exchange, method: str) -> Caller:
        """Return who sent a request whose route calls this RPC; a refusal is recorded as one of the RPC.

        Raises:
            TidemillError: as `Exchange.admit` does.

        """
        with self._edge.recording.before(self._policies[method], peer=_peer_of(exchange.scope)) as call:
            return await exchange.admit(self._policies[method], seen=partial(_seen, call))

    def routes(self) -> list[Route]:
        """Return one route for each RPC."""
        return [
            Route(method, self._endpoint(method), methods=["POST"])
            for method, handler in self._services.handlers.items()
            if not handler.request_streaming and not handler.response_streaming
        ]

    def _endpoint(self, method: str) -> Callable[[Request], Awaitable[Response]]:
        service, _, name = method.lstrip("/").partition("/")
        declared = descriptor_pool.Default().FindServiceByName(service).FindMethodByName(name)
        kind = message_factory.GetMessageClass(declared.input_type)
        policy = self._policies[method]

        async def answer(http: Request) -> Response:
            exchange = Exchange.of(http.scope)
            headers, peer = exchange.headers, _peer_of(http.scope)
            with self._edge.recording.before(policy, peer=peer) as call:
                # The edge does it too, but of a body that was read and parsed.
                await self._edge.admitted(policy, headers.getlist, peer=peer, seen=partial(_seen, call))
                given = await exchange.body(at_most=self._max_body_bytes)
                message = _parsed(kind(), given, max_items=self._max_items)
                until = _until(exchange.header(TIMEOUT))
            metadata = [(name, value) for name in _PASSED_ON for value in headers.getlist(name)]
            context = _Context(metadata, peer=peer, until=until)
            async with exchange.attended():
                return JSONResponse(_json(await self._served(method, message, context, counted=True)))

        return answer

    async def _served(
        self,
        method: str,
        request: Message | AsyncIterator[Message],
        context: "_Context",
        *,
        caller: Caller | None = None,
        counted: bool = False,
    ) -> Message:
        handler, served_to = self._services.handlers[method], cast("Any", context)
        raw = request.SerializeToString() if isinstance(request, Message) else _serialized(request)
        reply: Any = await self._edge.call(method, handler, raw, served_to, caller=caller, counted=counted)
        answer: Message = reply
        return answer


def rpc_application(
    rpcs: HttpRpcs,
    settings: RpcHttpSettings,
    *,
    dependencies: Sequence[Probed],
    routes: Iterable[BaseRoute] = (),
) -> Starlette:
    """Return an application of a service's own routes, health, and, where `http_rpcs` says so, the RPCs as JSON."""
    return application(
        [*(rpcs.routes() if settings.http_rpcs else []), *routes],
        dependencies=dependencies,
        error_response=error_response,
        served=f"unary RPCs are at POST /<package.Service>/<Method> where {settings.variable('http_rpcs')} is true",
        hosts=settings.served_hosts,
        hosts_setting=settings.variable("http_hosts"),
        cors_origins=settings.cors_origins,
        access=rpcs.access,
        admission=rpcs.admission,
    )


def error_response(error: TidemillError) -> Response:
    """Return an error as a google.rpc.Status."""
    packed = dict(to_status(error).trailing_metadata or ())[_DETAILS]
    assert isinstance(packed, bytes)  # noqa: S101 - the core made it
    status = json_format.MessageToDict(status_pb2.Status.FromString(packed))
    return JSONResponse(status, status_code=status_of(error), headers=headers_of(error))


class _Context:
    """As much of `grpc.aio.ServicerContext` as the edge and unary handlers use."""

    def __init__(self, metadata: list[tuple[str, str]], *, peer: str, until: float | None = None) -> None:
        self._metadata = metadata
        self._peer = peer
        self._until = until

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return self._metadata

    def peer(self) -> str:
        return self._peer

    def time_remaining(self) -> float | None:
        return None if self._until is None else max(0.0, self._until - time.monotonic())

    def code(self) -> None:
        """No handler sets one: they raise."""

    async def write(self, _message: object) -> NoReturn:
        raise NotImplementedError  # of streams


def _seen(call: AuditedCall | None, caller: Caller) -> None:
    if call is not None:
        call.caller = caller


def _peer_of(scope: Scope) -> str:
    """Return the client's address as gRPC has it."""
    client = scope.get("client")
    return f"http:{client[0]}:{client[1]}" if client else ""


async def _serialized(messages: AsyncIterator[Message]) -> AsyncIterator[bytes]:
    """Yield messages as the edge of gRPC receives them."""
    async for message in messages:
        yield message.SerializeToString()


def _until(timeout_ms: str) -> float | None:
    """Return the deadline on time.monotonic().

    Raises:
        InvalidInput: it is not a number of milliseconds.

    """
    if not timeout_ms:
        return None
    if not (timeout_ms.isascii() and timeout_ms.isdecimal() and len(timeout_ms) <= _MAX_TIMEOUT_DIGITS):
        text = f"is not a number of milliseconds with at most {_MAX_TIMEOUT_DIGITS} digits"
        raise InvalidInput.at(field=TIMEOUT, text=text)
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
        raise InvalidInput.at(field="body", text=str(error)) from None
    return message


def _json(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
