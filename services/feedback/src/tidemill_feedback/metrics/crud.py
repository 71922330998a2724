"""Use cases: create, get, list, update and delete metrics."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final

from tidemill_core import resources
from tidemill_core.application import Caller, Page, PageRequest
from tidemill_core.errors import InvalidInput
from tidemill_core.resources import Write, copy_fields, fields_of
from tidemill_feedback.metrics.domain.metric import FeedbackMetric
from tidemill_feedback.metrics.ports import FeedbackMetrics

CHANGEABLE: Final = fields_of(FeedbackMetric)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackMetricCrud:
    """Metrics emit no events; what was given keeps what it meant at that time."""

    metrics: FeedbackMetrics

    async def get(self, caller: Caller, metric_id: str) -> FeedbackMetric:
        """Return a metric.

        Raises:
            FeedbackMetricNotFound: the project declares none with this id.

        """
        return await self.metrics.get(caller.project, metric_id)

    async def list(self, caller: Caller, page: PageRequest) -> Page[FeedbackMetric]:
        """Return a page."""
        return await self.metrics.list(caller.project, page=page)

    async def create(self, caller: Caller, metric: FeedbackMetric, write: Write) -> FeedbackMetric:
        """Return the new metric; the id of a deleted one may be taken again, also by another kind.

        Raises:
            InvalidInput: names every field that breaks its rule.
            AlreadyExists: the id is taken.

        """
        metric.check()
        fresh = replace(metric, project=caller.project)
        return await resources.create(self.metrics, fresh, write, begin=resources.restored(fresh, CHANGEABLE))

    async def update(
        self, caller: Caller, given: FeedbackMetric, paths: AbstractSet[str], write: Write
    ) -> FeedbackMetric:
        """Return the metric with the fields that `paths` name; reactions that were given mean what they meant.

        Raises:
            InvalidInput: names every field that breaks its rule, or kind or level would be another one.
            FeedbackMetricNotFound: the project declares none with this id.
            Conflict: it changed since the etag.

        """

        def change(metric: FeedbackMetric) -> None:
            for name in paths & {"kind", "level"}:
                said, stays = getattr(given, name), getattr(metric, name)
                if said is not stays:
                    text = f"is {said.value}, and that of {metric.id} stays {stays.value}: declare another metric"
                    raise InvalidInput.at(field=f"metric.{name}", text=text)
            copy_fields(given, metric, paths)
            metric.check()

        return await resources.update(self.metrics, caller.project, given.id, change, write)

    async def delete(self, caller: Caller, metric_id: str, write: Write) -> FeedbackMetric:
        """Return the metric as deleted: no further reaction of it is taken, and its feedback stays.

        Raises:
            FeedbackMetricNotFound: the project declares none with this id.
            Conflict: it changed since the etag.

        """
        return await resources.delete(self.metrics, caller.project, metric_id, write)
