"""What an operator sees of routing: metrics by model, and a line in the log when a circuit opens or closes."""

import structlog
from prometheus_client import Counter, Gauge

from tidemill_inference.routing.domain.attempt import AttemptKind

ATTEMPTS = Counter(
    "tidemill_model_attempts",
    "Attempts to have a model answer, by their kind (first, retry, hedge, fallback) and outcome.",
    ["project", "model", "kind", "outcome"],
)
FALLBACKS = Counter(
    "tidemill_model_fallbacks", "Answers that were handed to a fallback, by why.", ["project", "model", "reason"]
)
OPEN_CIRCUITS = Gauge(
    "tidemill_model_circuit_open", "1 while a model's circuit is open or half-open, else 0.", ["project", "model"]
)

_log = structlog.get_logger()


class RoutingMetrics:
    """Implements `ports.ObserveRouting`; the series of a model that is forgotten are removed."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str], set[tuple[Counter | Gauge, tuple[str, ...]]]] = {}

    def attempt(self, project: str, model: str, kind: AttemptKind, outcome: str) -> None:
        """See `ObserveRouting.attempt`."""
        self._labelled(ATTEMPTS, project, model, kind.value, outcome)
        ATTEMPTS.labels(project, model, kind.value, outcome).inc()

    def fallback(self, project: str, model: str, reason: str) -> None:
        """See `ObserveRouting.fallback`."""
        self._labelled(FALLBACKS, project, model, reason)
        FALLBACKS.labels(project, model, reason).inc()

    def circuit(self, project: str, model: str, *, is_open: bool, failures: int) -> None:
        """See `ObserveRouting.circuit`."""
        self._labelled(OPEN_CIRCUITS, project, model)
        OPEN_CIRCUITS.labels(project, model).set(is_open)
        if is_open:
            _log.warning("circuit_opened", project=project, model=model, failures=failures)
        else:
            _log.info("circuit_closed", project=project, model=model)

    def forget(self, project: str, model: str) -> None:
        """See `ObserveRouting.forget`."""
        for metric, labels in self._series.pop((project, model), ()):
            metric.remove(*labels)

    def _labelled(self, metric: Counter | Gauge, *labels: str) -> None:
        self._series.setdefault((labels[0], labels[1]), set()).add((metric, labels))
