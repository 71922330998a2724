"""One trace through gRPC metadata and Kafka headers (W3C Trace Context), and Prometheus metrics.

Trace ids exist without any exporter; spans leave the process only where `otlp_endpoint` is set.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import start_http_server

from tidemill_kit.settings import PortTaken, ServiceSettings

TRACEPARENT = "traceparent"

_W3C = TraceContextTextMapPropagator()
_TRACER = trace.get_tracer("tidemill")
_EXPORT_TIMEOUT_S = 5.0


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
        PortTaken: somebody else listens there.

    """
    if settings.metrics_port == 0:
        return lambda: None
    try:
        server, _thread = start_http_server(settings.metrics_port, settings.host)
    except OSError as error:
        raise PortTaken(settings, "metrics_port") from error
    return server.shutdown


def trace_id() -> str:
    """Return the current trace's id as 32 hexadecimal digits, or "" outside of any trace."""
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else ""


def traceparent() -> str:
    """Return the current span in W3C form, to be sent along, or "" outside of any trace."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return carrier.get(TRACEPARENT, "")


def span(
    name: str, *, parent: str = "", kind: SpanKind = SpanKind.INTERNAL, **attributes: str
) -> AbstractContextManager[Span]:
    """Open a span around a block, as the child of `parent` (W3C form) where it is given.

    An exception is not written into the span, because its message may quote what users wrote: the log has it.
    """
    return _TRACER.start_as_current_span(
        name,
        context=_W3C.extract({TRACEPARENT: parent}) if parent else None,
        kind=kind,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    )
