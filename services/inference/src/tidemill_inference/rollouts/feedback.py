"""Whether feedback has a metric, and whether answers can be compared by it."""

from datetime import timedelta

import grpc

from tidemill.feedback.v1 import feedback_metric_pb2 as metrics
from tidemill.feedback.v1 import feedback_metric_service_pb2 as pb
from tidemill.feedback.v1.feedback_metric_service_pb2_grpc import FeedbackMetricServiceStub
from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput, NotFound
from tidemill_core.grpc.context import acting_as
from tidemill_inference.errors import ServiceNotNamed

_SHOWN = 50


class FeedbackMetrics:
    """Implements `ports.DeclaredMetrics`; without a channel, no address of feedback is set."""

    def __init__(self, channel: grpc.aio.Channel | None, *, timeout_s: float) -> None:
        self._service = FeedbackMetricServiceStub(channel) if channel else None
        self._timeout_s = timeout_s

    async def check(self, caller: Caller, metric: str, *, field: str) -> timedelta:
        """See `DeclaredMetrics.check`."""
        if self._service is None:
            raise ServiceNotNamed(service="feedback", setting="INFERENCE_FEEDBACK_ADDRESS")
        with acting_as(caller):
            try:
                request = pb.GetFeedbackMetricRequest(id=metric)
                found = (await self._service.GetFeedbackMetric(request, timeout=self._timeout_s)).metric
            except NotFound as error:
                known = pb.ListFeedbackMetricsRequest(page_size=_SHOWN)
                listed = await self._service.ListFeedbackMetrics(known, timeout=self._timeout_s)
                names = ", ".join(each.id for each in listed.metrics) or "none"
                text = f"is {metric}, which the project does not declare; it declares {names}"
                raise InvalidInput.at(field=field, text=text) from error
        if problem := _problem(found):
            raise InvalidInput.at(field=field, text=f"is {metric}, {problem}")
        return found.matures_after.ToTimedelta()


def _problem(metric: metrics.FeedbackMetric) -> str:
    """Return why no answers are compared by a metric, "" where they are."""
    if metric.level == metrics.FEEDBACK_METRIC_LEVEL_CONVERSATION:
        return "which is about conversations: a rollout compares answers, so name a metric of level inference"
    if metric.kind == metrics.FEEDBACK_METRIC_KIND_CATEGORY:
        return "" if metric.good_choices else "a category, of which no choice is better: name its good_choices"
    if metric.optimise not in {metrics.FEEDBACK_METRIC_OPTIMISE_MAX, metrics.FEEDBACK_METRIC_OPTIMISE_MIN}:
        return "of which no value is better: set its optimise to max or min"
    return ""
