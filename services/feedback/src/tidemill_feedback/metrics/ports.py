"""The store of metrics, and what reads their values."""

from datetime import datetime
from typing import Protocol

from tidemill_core.application import Aggregates, Caller
from tidemill_feedback.metrics.domain.figures import MetricFigures
from tidemill_feedback.metrics.domain.metric import FeedbackMetric

FeedbackMetrics = Aggregates[FeedbackMetric]


class FiguresOf(Protocol):
    """Reads values of metrics."""

    async def __call__(
        self, caller: Caller, metric_id: str, deployment: str, *, since: datetime | None
    ) -> MetricFigures:
        """Return what the values say of the variants of a deployment.

        Raises:
            FeedbackMetricNotFound: there is no such metric.

        """
        ...
