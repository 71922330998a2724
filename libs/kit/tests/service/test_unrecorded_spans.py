"""Spans of a service that exports none."""

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from tidemill_core.tracing import traceparent
from tidemill_kit.runtime import telemetry

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture(autouse=True)
def nothing_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = TracerProvider(sampler=ALWAYS_OFF)
    monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", lambda: provider)


def test_the_parent_is_sent_on_to_what_is_called() -> None:
    with telemetry.span("outer", parent=PARENT) as span, telemetry.span("inner"):
        assert not span.is_recording()
        assert traceparent() == PARENT

    assert traceparent() == ""


@pytest.mark.parametrize("parent", ["", "00-not-a-trace"])
def test_each_span_without_a_parent_begins_a_trace(parent: str) -> None:
    traces = []
    for _ in range(2):
        with telemetry.span("outer", parent=parent):
            outer = telemetry.trace_id()
            with telemetry.span("inner"):
                assert telemetry.trace_id() == outer
        traces.append(outer)

    assert len({*traces}) == 2
    assert "" not in traces


def test_an_error_goes_on_and_ends_the_trace() -> None:
    with pytest.raises(LookupError), telemetry.span("outer", parent=PARENT):
        raise LookupError

    assert telemetry.trace_id() == ""
