"""Metrics as documents."""

from tidemill_feedback.metrics.domain.metric import FeedbackMetric
from tidemill_kit.mapping import DocumentCodec

METRICS = DocumentCodec(FeedbackMetric)
