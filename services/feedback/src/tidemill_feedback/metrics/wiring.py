"""Wires the metrics: their store, use cases and entry point."""

from collections.abc import Callable
from dataclasses import dataclass

from tidemill_feedback.errors import FeedbackMetricNotFound
from tidemill_feedback.metrics.crud import FeedbackMetricCrud
from tidemill_feedback.metrics.find_metric import FindMetric
from tidemill_feedback.metrics.grpc import GrpcFeedbackMetricService
from tidemill_feedback.metrics.mongo import METRICS
from tidemill_feedback.metrics.ports import FiguresOf
from tidemill_feedback.settings import FeedbackSettings
from tidemill_kit.service.backend import Backend


@dataclass(frozen=True, slots=True, kw_only=True)
class WiredMetrics:
    """What `app.py` needs of metrics."""

    servicer: GrpcFeedbackMetricService
    find: FindMetric


def wire_metrics(
    settings: FeedbackSettings, backend: Backend, figures: Callable[[FindMetric], FiguresOf]
) -> WiredMetrics:
    """Return use cases and entry point."""
    metrics = backend.aggregates(
        "metrics", METRICS, missing=FeedbackMetricNotFound, quota=settings.quota("feedback_metrics")
    )
    find = FindMetric(metrics=metrics)
    crud = FeedbackMetricCrud(metrics=metrics)
    return WiredMetrics(servicer=GrpcFeedbackMetricService(metrics=crud, figures=figures(find)), find=find)
