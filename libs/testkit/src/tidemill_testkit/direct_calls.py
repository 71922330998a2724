"""Calls of a gRPC server without a connection between: for tests that make thousands of them.

The client's channel and stubs, and the server's edge, handlers and errors are the real ones, and each message crosses
as bytes. What a connection does is not here: retries, compression, health and reflection; nor what it refuses, names
and values of metadata that are not ASCII, and replies above a size. A call over one costs a millisecond of
processor time, in both threads of gRPC, and one without it a third of that.
"""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import Context
from itertools import count
from types import TracebackType
from typing import Any, Self, cast

import grpc
import pytest
from google.protobuf.message import Message

from tidemill_core.errors import TidemillError
from tidemill_core.grpc.status import to_status
from tidemill_kit.access.access import Access
from tidemill_kit.audit.trail import AuditTrail
from tidemill_kit.grpc.server import Registration, Services, admission_of
from tidemill_kit.runtime.settings import ServiceSettings

_PORTS = count(2**16)
"""None of which a connection can be made to."""


class DirectServer:
    """Answers calls as `GrpcServer` does, in the event loop of the caller, from `start` to `stop`."""

    def __init__(
        self,
        settings: ServiceSettings,
        servicers: Sequence[Registration],
        *,
        access: Access,
        audit: AuditTrail | None = None,
    ) -> None:
        services = Services(servicers)
        self.port = next(_PORTS)
        self.handlers = services.handlers
        self.edge = services.edge(settings, admission=admission_of(settings), access=access, audit=audit)
        self.max_request_bytes = settings.max_message_bytes
        self._open = ExitStack()

    async def start(self) -> None:
        """Let channels of plain text to 127.0.0.1 and its port lead to it."""
        self._open.enter_context(self.reachable())

    async def set_ready(self, ready: bool) -> None:  # noqa: FBT001 - as `GrpcServer` has it
        """Do nothing: health is asked over connections."""

    async def stop(self, grace_s: float) -> None:
        """Take no more calls; those that run end with their channel. What is stopped first was started last."""
        del grace_s
        self._open.close()

    @contextmanager
    def reachable(self) -> Iterator[None]:
        """Let channels lead to it in this block."""
        others, mine = grpc.aio.insecure_channel, f"127.0.0.1:{self.port}"

        def opened(target: str, *given: Any, **how: Any) -> grpc.aio.Channel:  # noqa: ANN401 - gRPC's own
            return DirectChannel(self) if target == mine else others(target, *given, **how)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(grpc.aio, "insecure_channel", opened)
            yield


class DirectChannel(grpc.aio.Channel):
    """Calls one server. Closing it ends the calls that run."""

    def __init__(self, server: DirectServer) -> None:
        self._server = server
        self._running = set[asyncio.Task[object]]()

    async def __aenter__(self) -> Self:
        """Return it."""
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        """Close it."""
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """End the calls that run."""
        del grace
        for task in self._running:
            task.cancel()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002 - gRPC's
        """Return that it is ready: it always is."""
        del try_to_connect
        return grpc.ChannelConnectivity.READY

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until it is ready, which it is at once, or for ever."""
        if last_observed_state is grpc.ChannelConnectivity.READY:
            await asyncio.Event().wait()

    async def channel_ready(self) -> None:
        """Return at once."""

    def unary_unary(self, method: str, *made: Any, **how: Any) -> Any:  # noqa: ANN401 - typed by the generated stubs
        """Return what begins calls."""
        return self._calling(method, *made, **how)

    unary_stream = stream_unary = stream_stream = unary_unary

    def _calling(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        **_registered: object,
    ) -> Callable[..., "_Call"]:
        serialize, deserialize = request_serializer or _as_it_is, response_deserializer or _as_it_is

        def call(
            request: Any = None,  # noqa: ANN401 - a message, or a stream of them
            *,
            timeout: float | None = None,
            metadata: Iterable[tuple[str, str | bytes]] | None = None,
            **_waiting: object,
        ) -> _Call:
            begun = _Call(self._server, method, _Context(metadata or (), timeout), deserialize)
            alone = isinstance(request, Message | bytes)
            begun.begin(serialize(request) if alone else _each(request, serialize), self._running)
            return begun

        return call


class _Context:
    """As much of `grpc.aio.ServicerContext` as edges and handlers use."""

    def __init__(self, metadata: Iterable[tuple[str, str | bytes]], timeout_s: float | None) -> None:
        self._metadata = tuple(metadata)
        self._until = None if timeout_s is None else time.monotonic() + timeout_s
        self._code, self._details = grpc.StatusCode.OK, ""
        self.trailing: tuple[tuple[str, str | bytes], ...] = ()
        self.written = asyncio.Queue[bytes | None]()
        """What is streamed, and at its end None."""
        self.serialize: Callable[[Any], bytes] = _as_it_is

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]]:
        return self._metadata

    def peer(self) -> str:
        return "ipv4:127.0.0.1:50000"

    def time_remaining(self) -> float | None:
        return None if self._until is None else max(0.0, self._until - time.monotonic())

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    async def write(self, message: object) -> None:
        self.written.put_nowait(self.serialize(message))
        await self.written.join()  # at the pace of the reader

    async def abort(
        self,
        code: grpc.StatusCode,
        details: str = "",
        trailing_metadata: Iterable[tuple[str, str | bytes]] = (),
    ) -> None:
        self._code, self._details, self.trailing = code, details, tuple(trailing_metadata)
        raise grpc.aio.AbortError

    async def abort_with_status(self, status: grpc.Status) -> None:
        await self.abort(status.code, status.details, status.trailing_metadata or ())

    def failure(self) -> grpc.aio.AioRpcError:
        """Return what the caller gets of a call that was aborted."""
        none, trailing = grpc.aio.Metadata(), grpc.aio.Metadata(*self.trailing)
        return grpc.aio.AioRpcError(self._code, none, trailing, details=self._details)


class _Call:
    """A call under way."""

    def __init__(
        self, server: DirectServer, method: str, context: _Context, deserialize: Callable[[bytes], Any]
    ) -> None:
        self._server, self._method, self._context = server, method, context
        self._deserialize = deserialize
        self._task: asyncio.Task[object] | None = None

    def begin(self, request: bytes | AsyncIterator[bytes], running: "set[asyncio.Task[object]]") -> None:
        """Run the handler in a task that has nothing of the caller's context, as on the other side of a connection."""
        self._task = asyncio.create_task(self._run(request), context=Context())
        running.add(self._task)
        self._task.add_done_callback(running.discard)
        self._task.add_done_callback(_seen)
        self._task.add_done_callback(lambda _: self._context.written.put_nowait(None))

    async def _run(self, request: bytes | AsyncIterator[bytes]) -> object:
        context, handler = self._context, self._server.handlers.get(self._method)
        try:
            if handler is None:
                await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
            assert handler
            if isinstance(request, bytes) and len(request) > self._server.max_request_bytes:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max")
            context.serialize = handler.response_serializer or _as_it_is
            reply = await self._server.edge.call(self._method, handler, request, cast("Any", context))
        except TidemillError as error:
            status = to_status(error)
            with_details = grpc.aio.Metadata(*(status.trailing_metadata or ()))
            raise grpc.aio.AioRpcError(status.code, grpc.aio.Metadata(), with_details, details=status.details) from None
        except grpc.aio.AbortError:
            raise context.failure() from None
        else:
            return None if handler.response_streaming else self._deserialize(context.serialize(reply))

    @property
    def _answered(self) -> "asyncio.Task[object]":
        assert self._task, "it has begun"
        return self._task

    def __await__(self) -> Generator[Any, None, object]:
        return self._answered.__await__()

    async def __aiter__(self) -> AsyncIterator[object]:
        written = self._context.written
        while (message := await written.get()) is not None:
            yield self._deserialize(message)
            written.task_done()
        await self._answered

    def cancel(self) -> bool:
        """End it."""
        return self._answered.cancel()

    def done(self) -> bool:
        """Return whether it has ended."""
        return self._answered.done()


async def _each(
    messages: "AsyncIterable[Any] | Iterable[Any]", serialize: Callable[[Any], bytes]
) -> AsyncIterator[bytes]:
    if isinstance(messages, AsyncIterable):
        async for message in messages:
            yield serialize(message)
        return
    for message in messages:
        yield serialize(message)


def _seen(task: "asyncio.Task[object]") -> None:
    """Take note of a failure that nothing awaits: gRPC warns of none."""
    if not task.cancelled():
        task.exception()


def _as_it_is(message: Any) -> Any:  # noqa: ANN401 - bytes
    return message
