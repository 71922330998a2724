"""Metrics for tests."""

from dataclasses import replace
from datetime import timedelta

from tidemill_feedback.metrics.domain.metric import (
    BusinessValue,
    FeedbackMetric,
    Level,
    MetricKind,
    Optimise,
    RaterWeights,
)

REOPENED = FeedbackMetric(
    id="reopened",
    project="acme",
    kind=MetricKind.BOOLEAN,
    optimise=Optimise.MIN,
    value=BusinessValue(unit="EUR", amount=-12.5),
    weights=RaterWeights(reviewer=3, judge=0.5),
)
STARS = FeedbackMetric(id="stars", project="acme", kind=MetricKind.NUMBER, optimise=Optimise.MAX, min=1, max=5)
LEFT = FeedbackMetric(
    id="left",
    project="acme",
    kind=MetricKind.CATEGORY,
    choices=("bought", "escalated", "gone"),
    value=BusinessValue(unit="EUR", amounts={"bought": 30, "escalated": -8}),
)


SOLVED = FeedbackMetric(
    id="solved", project="acme", kind=MetricKind.BOOLEAN, level=Level.CONVERSATION, optimise=Optimise.MAX
)


LATE = replace(REOPENED, matures_after=timedelta(days=7))


def metric(of: FeedbackMetric = REOPENED, /, **fields: object) -> FeedbackMetric:
    return replace(of, **fields)  # type: ignore[arg-type]  # names of fields
