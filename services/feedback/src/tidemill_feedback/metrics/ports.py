"""The store of metrics."""

from tidemill_core.application import Aggregates
from tidemill_feedback.metrics.domain.metric import FeedbackMetric

FeedbackMetrics = Aggregates[FeedbackMetric]
