"""What an operator sees when a model fails: metrics by model, and lines in the log, without any text."""

from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from tidemill_inference.routing.domain.attempt import AttemptKind
from tidemill_inference.routing.observed import RoutingMetrics

OF = {"project": "acme", "model": "observed@1"}


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, {**OF, **labels})


def test_attempts_fallbacks_and_open_circuits_are_counted_by_model_and_gone_when_it_is_forgotten() -> None:
    metrics = RoutingMetrics()

    metrics.attempt("acme", "observed@1", AttemptKind.FIRST, "DEPENDENCY_UNAVAILABLE")
    for _ in range(2):
        metrics.attempt("acme", "observed@1", AttemptKind.RETRY, "ANSWERED")
    metrics.fallback("acme", "observed@1", "CIRCUIT_OPEN")
    metrics.circuit("acme", "observed@1", is_open=True, failures=5)

    assert value("tidemill_model_attempts_total", kind="first", outcome="DEPENDENCY_UNAVAILABLE") == 1
    assert value("tidemill_model_attempts_total", kind="retry", outcome="ANSWERED") == 2
    assert value("tidemill_model_fallbacks_total", reason="CIRCUIT_OPEN") == 1
    assert value("tidemill_model_circuit_open") == 1
    metrics.circuit("acme", "observed@1", is_open=False, failures=0)
    assert value("tidemill_model_circuit_open") == 0

    metrics.forget("acme", "observed@1")
    metrics.forget("acme", "observed@1")
    assert value("tidemill_model_attempts_total", kind="retry", outcome="ANSWERED") is None
    assert value("tidemill_model_fallbacks_total", reason="CIRCUIT_OPEN") is None
    assert value("tidemill_model_circuit_open") is None


def test_a_circuit_that_opens_and_closes_is_a_line_each_with_project_and_model() -> None:
    metrics = RoutingMetrics()
    with capture_logs() as lines:
        metrics.circuit("acme", "observed@1", is_open=True, failures=5)
        metrics.circuit("acme", "observed@1", is_open=False, failures=0)
    metrics.forget("acme", "observed@1")

    assert lines == [
        {"event": "circuit_opened", "log_level": "warning", **OF, "failures": 5},
        {"event": "circuit_closed", "log_level": "info", **OF},
    ]
