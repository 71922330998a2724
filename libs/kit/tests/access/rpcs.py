"""Every RPC of the contract, each with a trivial handler, and calls of them by name: on a server, or at its edge."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2

from libs.kit.tests.grpc.support import Context, settings
from tidemill.options.v1 import options_pb2
from tidemill_core.errors import TidemillError
from tidemill_core.grpc.status import code_of
from tidemill_kit.access.access import Access
from tidemill_kit.audit.trail import AuditTrail
from tidemill_kit.grpc.server import GrpcServer, Services, admission_of
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.contract import all_methods, register_all

Metadata = Sequence[tuple[str, str]]
Outcome = tuple[grpc.StatusCode, str]
"""A code, and the reason of its error."""

Handler = Callable[[MethodDescriptor], Callable[..., object]]

OK: Outcome = (grpc.StatusCode.OK, "")


def name_of(method: MethodDescriptor) -> str:
    return f"{method.containing_service.full_name}/{method.name}"


def role_of(method: MethodDescriptor) -> int:
    return int(method.GetOptions().Extensions[options_pb2.required_role])


METHODS = {name_of(method): method for method in all_methods()}
GUARDED = {name: method for name, method in METHODS.items() if role_of(method) != options_pb2.ROLE_PUBLIC}


def trivial(method: MethodDescriptor) -> Callable[..., object]:
    """Return a handler that reads what it is sent and answers nothing in particular."""
    answer = GetMessageClass(method.output_type)

    async def read(request: Any) -> None:  # noqa: ANN401 - a message, or a stream of them
        if method.client_streaming:
            async for _ in request:
                pass

    async def unary(request: object, _context: Context) -> object:
        await read(request)
        return answer()

    async def stream(request: object, _context: Context) -> AsyncIterator[object]:
        await read(request)
        yield answer()

    return stream if method.server_streaming else unary


class AllRpcs:
    """Calls RPCs with nothing but metadata."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def __call__(self, method: str, metadata: Metadata = (), body: bytes = b"") -> Outcome:
        code, reason, _ = await self.answered(method, metadata, body)
        return code, reason

    async def answered(
        self, method: str, metadata: Metadata = (), body: bytes = b""
    ) -> tuple[grpc.StatusCode, str, str]:
        """Return code, reason and text."""
        declared = METHODS[method]
        arity = (
            f"{'stream' if declared.client_streaming else 'unary'}_{'stream' if declared.server_streaming else 'unary'}"
        )
        start = getattr(self._channel, arity)(f"/{method}", None, None)
        request: Any = iter([body]) if declared.client_streaming else body
        call = start(request, metadata=metadata, timeout=20)
        try:
            if declared.server_streaming:
                async for _ in call:
                    pass
            else:
                await call
        except grpc.aio.AioRpcError as error:
            return error.code(), _reason(error), error.details() or ""
        return grpc.StatusCode.OK, "", ""


class EdgeRpcs:
    """Calls RPCs as `AllRpcs` does, at the edge of a server that serves none: what it decides takes no connection."""

    def __init__(self, access: Access) -> None:
        services, made = Services(register_all(trivial)), settings()
        self._handlers = services.handlers
        self._edge = services.edge(made, admission=admission_of(made), access=access, audit=RecordedCalls())

    async def __call__(self, method: str, metadata: Metadata = (), body: bytes = b"") -> Outcome:
        code, reason, _ = await self.answered(method, metadata, body)
        return code, reason

    async def answered(
        self, method: str, metadata: Metadata = (), body: bytes = b""
    ) -> tuple[grpc.StatusCode, str, str]:
        """Return code, reason and text."""
        handler, context = self._handlers[f"/{method}"], cast("Any", _Arrived(metadata))
        request = _alone(body) if handler.request_streaming else body
        try:
            await asyncio.create_task(self._edge.call(f"/{method}", handler, request, context))  # as gRPC runs it
        except TidemillError as error:
            return code_of(error), error.reason, error.message
        return grpc.StatusCode.OK, "", ""


class _Arrived:
    """As much of `grpc.aio.ServicerContext` as the edge and trivial handlers use."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def invocation_metadata(self) -> Metadata:
        return self._metadata

    def peer(self) -> str:
        return "ipv4:127.0.0.1:50000"

    def time_remaining(self) -> float:
        return 20.0

    def code(self) -> int:
        return 0

    async def write(self, _message: object) -> None:
        return None


async def _alone(body: bytes) -> AsyncIterator[bytes]:
    yield body


def _reason(error: grpc.aio.AioRpcError) -> str:
    packed = (error.trailing_metadata() or grpc.aio.Metadata()).get("grpc-status-details-bin")
    info = error_details_pb2.ErrorInfo()
    if isinstance(packed, bytes):
        status_pb2.Status.FromString(packed).details[0].Unpack(info)
    return str(info.reason)


@asynccontextmanager
async def all_rpcs(
    access: Access, *, audit: AuditTrail | None = None, handler: Handler | None = None, **changes: object
) -> AsyncIterator[AllRpcs]:
    """Serve every RPC with these settings."""
    server = GrpcServer(
        settings(**changes), register_all(handler or trivial), access=access, audit=audit or RecordedCalls()
    )
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield AllRpcs(channel)
    finally:
        await server.stop(0)


def bearing(token: str, *more: tuple[str, str]) -> Metadata:
    return (("authorization", f"Bearer {token}"), *more)
