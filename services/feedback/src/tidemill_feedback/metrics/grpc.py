"""FeedbackMetricService: message -> use case -> message."""

from dataclasses import dataclass
from typing import Any

from tidemill.feedback.v1 import feedback_metric_pb2
from tidemill.feedback.v1 import feedback_metric_service_pb2 as pb
from tidemill.feedback.v1.feedback_metric_service_pb2_grpc import FeedbackMetricServiceServicer
from tidemill_feedback.metrics.crud import CHANGEABLE, FeedbackMetricCrud
from tidemill_feedback.metrics.domain.metric import FeedbackMetric, MetricKind
from tidemill_feedback.metrics.ports import FiguresOf
from tidemill_kit.grpc.server import current_caller, page_of, paths_of, required, write_of
from tidemill_kit.mapping import from_message, from_timestamp, to_message


@dataclass(frozen=True, kw_only=True)
class GrpcFeedbackMetricService(FeedbackMetricServiceServicer):
    """Serves metrics; errors are translated by the server's interceptor."""

    metrics: FeedbackMetricCrud
    figures: FiguresOf

    async def CreateFeedbackMetric(
        self, request: pb.CreateFeedbackMetricRequest, _context: object
    ) -> pb.CreateFeedbackMetricResponse:
        """Create a metric."""
        required(request, "metric")
        caller = current_caller()
        created = await self.metrics.create(caller, _metric_of(request.metric, caller.project), write_of(request))
        return to_message(pb.CreateFeedbackMetricResponse, metric=created)

    async def GetFeedbackMetric(
        self, request: pb.GetFeedbackMetricRequest, _context: object
    ) -> pb.GetFeedbackMetricResponse:
        """Return one metric."""
        return to_message(pb.GetFeedbackMetricResponse, metric=await self.metrics.get(current_caller(), request.id))

    async def ListFeedbackMetrics(
        self, request: pb.ListFeedbackMetricsRequest, _context: object
    ) -> pb.ListFeedbackMetricsResponse:
        """Return a page of metrics."""
        page = await self.metrics.list(current_caller(), page_of(request, filters={}))
        return to_message(pb.ListFeedbackMetricsResponse, metrics=page.items, next_page_token=page.next_token)

    async def UpdateFeedbackMetric(
        self, request: pb.UpdateFeedbackMetricRequest, _context: object
    ) -> pb.UpdateFeedbackMetricResponse:
        """Change the fields that the mask names."""
        required(request, "metric")
        caller, paths = current_caller(), paths_of(request.update_mask, allowed=CHANGEABLE)
        write = write_of(request, etag=request.metric.etag)
        unchanged = {} if "kind" in paths else {"kind": MetricKind.BOOLEAN}  # read where it is named, and else not
        given = _metric_of(request.metric, caller.project, **unchanged)
        updated = await self.metrics.update(caller, given, paths, write)
        return to_message(pb.UpdateFeedbackMetricResponse, metric=updated)

    async def DeleteFeedbackMetric(
        self, request: pb.DeleteFeedbackMetricRequest, _context: object
    ) -> pb.DeleteFeedbackMetricResponse:
        """Delete a metric."""
        deleted = await self.metrics.delete(current_caller(), request.id, write_of(request))
        return to_message(pb.DeleteFeedbackMetricResponse, metric=deleted)

    async def GetFeedbackMetricFigures(
        self, request: pb.GetFeedbackMetricFiguresRequest, _context: object
    ) -> pb.GetFeedbackMetricFiguresResponse:
        """Return what the values of a metric say of the variants of a deployment."""
        since = from_timestamp(request.since, field="since") if request.HasField("since") else None
        found = await self.figures(current_caller(), request.id, request.deployment, since=since)
        return to_message(pb.GetFeedbackMetricFiguresResponse, found)


def _metric_of(
    message: feedback_metric_pb2.FeedbackMetric,
    project: str,
    **differences: Any,  # noqa: ANN401 - of the metric
) -> FeedbackMetric:
    return from_message(FeedbackMetric, message, prefix="metric", project=project, **differences)
