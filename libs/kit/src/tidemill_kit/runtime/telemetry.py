"""One trace through gRPC metadata and Kafka headers (W3C Trace Context), and Prometheus metrics.

Trace ids exist without any exporter; spans leave the process only where `otlp_endpoint` is set.
"""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from socketserver import ThreadingMixIn
from types import TracebackType
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind
from prometheus_client import make_wsgi_app

from tidemill_core.tracing import TRACEPARENT, W3C
from tidemill_kit.runtime.settings import PortTaken, ServiceSettings

_TRACER = trace.get_tracer("tidemill")
_IDS = RandomIdGenerator()
_EXPORT_TIMEOUT_S = 5.0
_METRICS_IDLE_S = 5.0
_METRICS_WHOLE_S = 10.0
"""How long a connection may take in all, however it trickles."""
_METRICS_CONNECTIONS = 8


def configure_tracing(settings: ServiceSettings, *, version: str) -> Callable[[], None]:
    """Give this process its tracer; return what sends the last spans and closes it."""
    origin = Resource.create({"service.name": settings.service, "service.version": version})
    # Ids are given and passed on without recording anything, which would cost more than many a handler.
    sampler = ALWAYS_ON if settings.otlp_endpoint else ALWAYS_OFF
    provider = TracerProvider(resource=origin, sampler=sampler, shutdown_on_exit=False)
    if settings.otlp_endpoint:
        # Imported here because it starts gRPC's synchronous machinery, which a service without exporter does not need.
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        exporter = OTLPSpanExporter(endpoint=settings.otlp_endpoint, timeout=_EXPORT_TIMEOUT_S)
        provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return provider.shutdown


def serve_metrics(settings: ServiceSettings) -> Callable[[], None]:
    """Serve the process's Prometheus metrics on `metrics_port`, unless it is 0; return what stops that.

    Raises:
        PortTaken: another process listens there.

    """
    if settings.metrics_port == 0:
        return lambda: None
    try:
        server = make_server(
            settings.host, settings.metrics_port, make_wsgi_app(), _MetricsServer, handler_class=_MetricsHandler
        )
    except OSError as error:
        raise PortTaken(settings, "metrics_port") from error
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server.shutdown


class _MetricsHandler(WSGIRequestHandler):
    """Gives up a connection on which nothing comes: each holds a thread."""

    timeout = _METRICS_IDLE_S

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Write no line of its own."""


class _MetricsServer(ThreadingMixIn, WSGIServer):
    """Answers a few at the same time, and closes the connections of all others at once."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)
        self._places = threading.BoundedSemaphore(_METRICS_CONNECTIONS)
        self._begun: dict[socket.socket, float] = {}

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the base class's
        """Answer in a thread, where there is one left."""
        if self._places.acquire(blocking=False):
            self._begun[request] = time.monotonic()
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the base class's
        """Answer, and give the thread back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._begun.pop(request, None)
            self._places.release()

    def service_actions(self) -> None:
        """Cut off what takes too long in all: a connection that trickles is never idle."""
        oldest = time.monotonic() - _METRICS_WHOLE_S
        for connection in [each for each, begun in self._begun.copy().items() if begun < oldest]:
            with suppress(OSError):  # it has ended by itself
                connection.shutdown(socket.SHUT_RDWR)


def trace_id() -> str:
    """Return the current trace's id as 32 hexadecimal digits, or "" outside of any trace."""
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else ""


def span(
    name: str, *, parent: str = "", kind: SpanKind = SpanKind.INTERNAL, **attributes: str
) -> AbstractContextManager[Span]:
    """Open a span around a block, as the child of `parent` (W3C form) where it is given.

    An exception is not written into the span, because its message may quote what users wrote: the log has it.
    """
    context = W3C.extract({TRACEPARENT: parent}) if parent else contexts.get_current()
    if getattr(trace.get_tracer_provider(), "sampler", None) is ALWAYS_OFF:
        return _Unrecorded(context)
    opened = _TRACER.start_span(name, context=context, kind=kind, attributes=attributes)
    return trace.use_span(opened, end_on_exit=True, record_exception=False, set_status_on_exception=False)


class _Unrecorded:
    """Carries a trace on, or a new one: the tracer's own span, of which nothing is kept, costs an event much more.

    It has the ids of the span that it would be a child of: an unrecorded one is no parent that a trace could show.
    """

    __slots__ = ("_span", "_token")

    def __init__(self, context: contexts.Context) -> None:
        parent = trace.get_current_span(context).get_span_context()
        self._span = NonRecordingSpan(parent if parent.is_valid else _new_trace())

    def __enter__(self) -> Span:
        self._token = contexts.attach(trace.set_span_in_context(self._span))
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        contexts.detach(self._token)


def _new_trace() -> SpanContext:
    return SpanContext(_IDS.generate_trace_id(), _IDS.generate_span_id(), is_remote=False)
