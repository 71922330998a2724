"""What feedback says of the metrics that a project declares."""

from collections.abc import Callable
from typing import Any

from google.protobuf.duration_pb2 import Duration

from tidemill.feedback.v1 import feedback_metric_service_pb2 as fm_rpc
from tidemill.feedback.v1.feedback_metric_pb2 import (
    FEEDBACK_METRIC_KIND_BOOLEAN,
    FEEDBACK_METRIC_KIND_CATEGORY,
    FEEDBACK_METRIC_LEVEL_CONVERSATION,
    FEEDBACK_METRIC_OPTIMISE_MIN,
    FeedbackMetric,
    FeedbackMetricValue,
    FeedbackMetricWeights,
)

REOPENED = FeedbackMetric(
    id="reopened",
    kind=FEEDBACK_METRIC_KIND_BOOLEAN,
    optimise=FEEDBACK_METRIC_OPTIMISE_MIN,
    matures_after=Duration(seconds=7 * 86400),
    value=FeedbackMetricValue(unit="EUR", amount=-12.5),
    weights=FeedbackMetricWeights(user=1, reviewer=3, judge=1),
)
LEFT = FeedbackMetric(
    id="left",
    kind=FEEDBACK_METRIC_KIND_CATEGORY,
    level=FEEDBACK_METRIC_LEVEL_CONVERSATION,
    choices=["bought", "gone"],
    value=FeedbackMetricValue(unit="EUR", amounts={"bought": 30}),
)

METRIC_ANSWERS: dict[str, Callable[[Any], Any]] = {
    "feedback.v1.feedback_metric_service:ListFeedbackMetrics": lambda _: fm_rpc.ListFeedbackMetricsResponse(
        metrics=[REOPENED, LEFT]
    ),
    "feedback.v1.feedback_metric_service:GetFeedbackMetric": lambda request: fm_rpc.GetFeedbackMetricResponse(
        metric=LEFT if request.id == "left" else REOPENED
    ),
    "feedback.v1.feedback_metric_service:GetFeedbackMetricFigures": lambda _: fm_rpc.GetFeedbackMetricFiguresResponse(
        figures=[fm_rpc.VariantFigures(variant="live", count=9, mean=0.25, low=0.1, high=0.5, business_value=-25)],
        unit="EUR",
        truncated=True,
    ),
    "feedback.v1.feedback_metric_service:DeleteFeedbackMetric": lambda _: fm_rpc.DeleteFeedbackMetricResponse(
        metric=REOPENED
    ),
}
