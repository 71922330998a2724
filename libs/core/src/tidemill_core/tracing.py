"""The current trace, as it is sent along (W3C Trace Context)."""

from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACEPARENT = "traceparent"

W3C = TraceContextTextMapPropagator()


def traceparent() -> str:
    """Return the current span in W3C form, to be sent along, or "" outside of any trace."""
    carrier: dict[str, str] = {}
    W3C.inject(carrier)
    return carrier.get(TRACEPARENT, "")
