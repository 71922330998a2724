"""What happens around every RPC: trace, admission, deadline, errors, one line of log, metrics."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import grpc
import structlog
from opentelemetry.trace import Span, SpanKind, StatusCode
from prometheus_client import Counter, Histogram

from tidemill.options.v1 import options_pb2
from tidemill_core.application import Caller
from tidemill_core.errors import (
    DeadlineExceeded,
    DependencyUnavailable,
    Internal,
    TidemillError,
    isolated,
)
from tidemill_core.grpc.context import bind_call, current_caller
from tidemill_core.grpc.status import code_of, to_status
from tidemill_core.tracing import TRACEPARENT
from tidemill_kit.access.access import Access
from tidemill_kit.access.credentials import Credentials
from tidemill_kit.access.policy import Policy
from tidemill_kit.audit.calls import AuditedCall
from tidemill_kit.audit.recording import Recording, address_of
from tidemill_kit.audit.trail import AuditTrail
from tidemill_kit.grpc.admission import NO_PROJECT, Admission
from tidemill_kit.grpc.messages import Parse, check_size, parsed, produced, received
from tidemill_kit.grpc.request_items import check_items
from tidemill_kit.grpc.requests import digest_large
from tidemill_kit.runtime import telemetry

RPCS = Counter("tidemill_rpc", "RPCs answered.", ["method", "code"])
RPC_SECONDS = Histogram("tidemill_rpc_seconds", "Time from an RPC's arrival to its end.", ["method"])

_FAULTS = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN})
"""Codes that are not the caller's doing."""

Context = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"  # generic for type checkers only

_log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class _Rpc:
    """One RPC on its way through."""

    method: str
    policy: Policy
    streams: bool
    context: Context
    started: float = field(default_factory=time.perf_counter)
    code: grpc.StatusCode = grpc.StatusCode.OK
    reason: str | None = None
    resource: str = ""
    audited: AuditedCall | None = None
    """What the audit trail records of it, if it does."""
    counted: bool = False
    """Another edge has counted it."""

    def record_resource(self, request: object) -> None:
        """Remember the resource that a request names; of a stream the first request that names one."""
        if self.policy.resource is not None and not self.resource:
            self.resource = self.policy.resource(request)

    def seen(self, caller: Caller) -> None:
        """Remember who calls."""
        if self.audited is not None:
            self.audited.caller = caller

    def metadata(self, key: str) -> list[str]:
        """Return every value that the caller sent."""
        return [str(value) for name, value in self.context.invocation_metadata() or () if name == key]


class EdgeInterceptor(grpc.aio.ServerInterceptor):
    """Stands around every handler, of all four arities.

    `access` says who calls. `audit` records the calls of audited RPCs. `closed` says why no RPC but the public ones is
    answered yet, "" when they are.
    """

    def __init__(  # noqa: PLR0913 - its parts, put together once
        self,
        policies: Mapping[str, Policy],
        *,
        admission: Admission,
        max_items: int,
        idle_s: float,
        closed: Callable[[], str],
        max_reply_bytes: int,
        max_deadline_s: float = math.inf,
        access: Access,
        audit: AuditTrail | None = None,
    ) -> None:
        self._access = access
        self.recording = Recording(audit, iter(policies.values()))
        self._policies = policies
        self._max_items = max_items
        self._admission = admission
        self._idle_s = idle_s
        self._max_reply_bytes = max_reply_bytes
        self._max_deadline_s = max_deadline_s
        self._closed = closed
        self._watches: set[asyncio.Task[object]] = set()
        self._stopping = False

    def end_watches(self) -> None:
        """End public streams (health watches, reflection), for which a stopping server would wait in vain."""
        self._stopping = True
        for watch in self._watches:
            watch.cancel()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Return the handler with the edge around it, or None for a method that is not served, or has no policy."""
        method = handler_call_details.method
        handler = await continuation(handler_call_details) if method in self._policies else None
        if handler is None:
            return None

        async def answer(request: object, context: Context) -> object:
            try:
                return await self.call(method, handler, request, context, max_reply_bytes=self._max_reply_bytes)
            except TidemillError as error:
                # Last of all, because a stopping server does not wait for a handler that has called it.
                await context.abort_with_status(to_status(error))

        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming, handler.response_streaming]
        return make(answer, None, handler.response_serializer)  # parsed behind the edge, which says what is wrong

    async def call(  # noqa: PLR0913 - the RPC, and what another edge did before
        self,
        method: str,
        handler: "grpc.RpcMethodHandler[Any, Any]",
        request: Any,  # noqa: ANN401 - bytes, or a stream of them
        context: Context,
        *,
        caller: Caller | None = None,
        counted: bool = False,
        max_reply_bytes: int | None = None,
    ) -> object:
        """Run a handler with the edge around it.

        `caller` is one whom another edge has admitted; `counted` says that it has `admitted` here already. Only gRPC
        limits its replies.

        Raises:
            TidemillError: the answer to the caller.

        """
        serve: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        policy, idle_s = self._policies[method], self._idle_s
        rpc = _Rpc(method=method, policy=policy, streams=handler.response_streaming, context=context, counted=counted)
        deserialize: Parse = handler.request_deserializer or _as_it_is

        def parse(raw: bytes) -> object:
            if policy.request is not None:
                check_items(raw, policy.request, limit=self._max_items)
            message = deserialize(raw)
            rpc.record_resource(message)
            if policy.erased is not None:
                self._access.holds.check(current_caller().project, policy.erased(message))
            return message

        async def produce() -> object:
            read = received(request, parse, idle_s=idle_s) if handler.request_streaming else parsed(request, parse)

            async def handle() -> object:
                if isinstance(request, bytes):
                    await digest_large(read, size=len(request))
                return await produced(serve(read, context), context.write, idle_s=idle_s)

            reply = await self.recording.carried_out(rpc.audited, read, request, handle)
            if max_reply_bytes is not None:
                check_size(reply, limit=max_reply_bytes)
            return reply

        structlog.contextvars.clear_contextvars()
        with self._recorded(rpc), _observed(rpc):
            rpc.audited = self.recording.arrived(policy, peer=context.peer())
            return await self._run(rpc, produce, caller)

    @contextmanager
    def _recorded(self, rpc: _Rpc) -> Iterator[None]:
        try:
            yield
        finally:
            if rpc.audited is not None:
                how = {"code": rpc.code.name, "reason": rpc.reason or "", "resource": rpc.resource}
                self.recording.ended(rpc.audited, **how)

    async def _run(self, rpc: _Rpc, produce: Callable[[], Awaitable[object]], caller: Caller | None) -> object:
        """Admit the caller and run the handler until the deadline, or the end of the credential."""
        remaining_s = self._deadline_s(rpc)
        running: AbstractContextManager[None] = nullcontext()
        if caller is None or rpc.policy.public:
            caller, running = await self.admitted(
                rpc.policy, rpc.metadata, peer=rpc.context.peer(), seen=rpc.seen, counted=rpc.counted
            )
        else:
            rpc.seen(caller)
            _bind_project(caller)
        if caller is not None and (reason := self._closed()):
            raise DependencyUnavailable(reason, dependency="server")
        bind_call(caller, remaining_s=remaining_s)
        with self._place(rpc, caller), running:
            return await self._until_deadline(rpc, produce, remaining_s)

    async def admitted(
        self,
        policy: Policy,
        sent: Callable[[str], list[str]],
        *,
        peer: str,
        seen: Callable[[Caller], None],
        counted: bool = False,
    ) -> tuple[Caller | None, AbstractContextManager[None]]:
        """Return who calls, None of a public RPC, and what ends the call with the credential; count it.

        `sent` returns the values of a header, and `seen` gets the caller, also one who is refused.

        Raises:
            Unauthenticated, PermissionDenied, DependencyUnavailable: as the credential says.
            TooManyRequests: it is beyond the caller's share.

        """
        if policy.public:
            if policy.audit == options_pb2.AUDIT_CALL and not counted:
                await self._admission.anonymous(address_of(peer))
            return None, nullcontext()
        credentials = Credentials.sent(sent, address=address_of(peer))
        authenticated = await self._access.admit(credentials, policy, seen=seen)
        caller, running = authenticated.caller, self._access.running.call(authenticated.claims)
        _bind_project(caller)
        if not counted:
            await self._admission.request(caller)
        return caller, running

    def _deadline_s(self, rpc: _Rpc) -> float | None:
        """Return how long the RPC may take: a call that names no end must not hold its place for ever."""
        remaining_s: float | None = rpc.context.time_remaining()
        if rpc.policy.public and rpc.policy.audit != options_pb2.AUDIT_CALL:
            return remaining_s
        return self._max_deadline_s if remaining_s is None else min(remaining_s, self._max_deadline_s)

    def _place(self, rpc: _Rpc, caller: Caller | None) -> AbstractContextManager[None]:
        """Count the RPC while it is in work; what probes and operators ask is answered however much is.

        A public RPC that is audited, such as a login, is neither: all of these together are as one project's.
        """
        if caller is not None:
            return self._admission.rpc(caller.project, streams=rpc.streams)
        if rpc.policy.audit == options_pb2.AUDIT_CALL:
            return self._admission.rpc(NO_PROJECT)
        return self._admission.public_stream() if rpc.streams else nullcontext()

    async def _until_deadline(
        self, rpc: _Rpc, produce: Callable[[], Awaitable[object]], remaining_s: float | None
    ) -> object:
        task = cast("asyncio.Task[object]", asyncio.current_task())
        watch = rpc.policy.public and rpc.streams
        if watch:
            self._watches.add(task)
        deadline = asyncio.timeout(remaining_s)
        try:
            async with deadline:
                return await produce()
        except TimeoutError as error:
            if not deadline.expired():
                raise
            message = "the deadline of the call passed before it was complete"
            raise DeadlineExceeded(message) from error
        except asyncio.CancelledError as error:
            # gRPC sends no answer when a handler raises this, so it may go on only where gRPC was who cancelled.
            if watch and self._stopping:
                message = "the server is stopping"
                raise DependencyUnavailable(message, dependency="server") from error
            if task.cancelling() == 0:
                message = "something that the handler waited for was cancelled"
                raise RuntimeError(message) from error
            raise
        finally:
            self._watches.discard(task)


def _bind_project(caller: Caller) -> None:
    structlog.contextvars.bind_contextvars(project=caller.project)


def _as_it_is(raw: bytes) -> object:
    return raw


@contextmanager
def _observed(rpc: _Rpc) -> Iterator[None]:
    """Put a span, one line of log and the metrics around an RPC; hide what is not an error of the kit's tree."""
    service, _, method = rpc.method.lstrip("/").partition("/")
    about = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
    parent = next(iter(rpc.metadata(TRACEPARENT)), "")
    with telemetry.span(rpc.method.lstrip("/"), parent=parent, kind=SpanKind.SERVER, **about) as span:
        try:
            with isolated():
                yield
                rpc.code = _code_set_by_handler(rpc.context)
        except asyncio.CancelledError:
            late = rpc.context.time_remaining() == 0
            rpc.code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
            raise
        except grpc.aio.AbortError:
            rpc.code = _code_set_by_handler(rpc.context)
            raise
        except TidemillError as error:
            rpc.code, rpc.reason = code_of(error), error.reason
            raise
        except Exception as error:
            rpc.code, rpc.reason = grpc.StatusCode.INTERNAL, Internal.reason
            _log.error("rpc_failed", method=rpc.method, exc_info=error)
            message = f"internal error; the service's log has it under trace {telemetry.trace_id()}"
            raise Internal(message) from error
        finally:
            _record(rpc, span)


def _record(rpc: _Rpc, span: Span) -> None:
    duration_s = time.perf_counter() - rpc.started
    RPCS.labels(rpc.method, rpc.code.name).inc()
    RPC_SECONDS.labels(rpc.method).observe(duration_s)
    span.set_attribute("rpc.grpc.status_code", rpc.code.value[0])
    if rpc.code in _FAULTS:
        span.set_status(StatusCode.ERROR)
    facts = {"method": rpc.method, "code": rpc.code.name, "duration_s": round(duration_s, 4)}
    if rpc.reason is not None:
        facts["reason"] = rpc.reason
    if rpc.resource:
        facts["resource"] = rpc.resource
    if rpc.policy.audit == options_pb2.AUDIT_CALL:
        facts["audit"] = True
    if rpc.policy.public and rpc.policy.audit != options_pb2.AUDIT_CALL:
        _log.debug("rpc_finished", **facts)
    else:
        _log.info("rpc_finished", **facts)


def _code_set_by_handler(context: Context) -> grpc.StatusCode:
    code: object = context.code()
    return next((known for known in grpc.StatusCode if code in (known, known.value[0])), grpc.StatusCode.OK)
