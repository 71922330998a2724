"""Read what the values of a metric say of the variants of a deployment."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tidemill_core.application import Caller, Clock, PageRequest
from tidemill_core.paging import MAX_PAGE_SIZE
from tidemill_core.resources import check_slug
from tidemill_feedback.errors import FeedbackMetricNotFound
from tidemill_feedback.metrics.domain.figures import MetricFigures, Observed, figures_of
from tidemill_feedback.metrics.domain.metric import FIELD_OF, FeedbackMetric, Measure, MetricKind
from tidemill_feedback.metrics.find_metric import FindMetric
from tidemill_feedback.reactions.domain.feedback import Feedback, Given
from tidemill_feedback.reactions.domain.reaction import RATING
from tidemill_feedback.reactions.ports import FeedbackStore


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFigures:
    """Implements `metrics.ports.FiguresOf`. It reads the newest `max_values` values."""

    feedback: FeedbackStore
    metric: FindMetric
    clock: Clock
    max_values: int

    async def __call__(
        self, caller: Caller, metric_id: str, deployment: str, *, since: datetime | None
    ) -> MetricFigures:
        """Return the figures of what was first given since then, by variant and rollout.

        Of a metric that matures they are of the answers that matured since then: values come early and their absence
        late, so that what was given in a time is one-sided. Worth in another unit than the newest value's is left out.

        Raises:
            FeedbackMetricNotFound: the project declares none with this id, and it is not `rating`.
            InvalidInput: the deployment's name is none.

        """
        check_slug("deployment", deployment)
        metric = await self.metric(caller, metric_id)
        if metric is None and metric_id != RATING:
            raise FeedbackMetricNotFound(metric_id)
        matures = metric.matures_after if metric else None
        now, read, truncated, found = self.clock.now(), 0, False, list[tuple[Measure | None, Observed]]()
        oldest = now
        async for each in self._newest(caller, {"deployment": deployment, "metric": metric_id}):
            created = each.create_time or now
            if since and created + (matures or timedelta()) < since:
                break
            if read == self.max_values:
                truncated = True
                break
            read, oldest = read + 1, created
            if each.teaches and each.current and _is_of(metric, each.current):
                found.append((each.current.measure, _observed(each, each.current, now)))
        if metric and matures:
            asked_from = max(metric.create_time or oldest, oldest) if truncated else metric.create_time or oldest
            matured_from = max(since, asked_from + matures) if since else asked_from + matures
            found = [(measure, each) for measure, each in found if _matures(measure, matured_from)]
        unit = next((measure.unit for measure, _ in found if measure and measure.unit), "")
        observed = [
            each if measure is None or measure.unit == unit else replace(each, business_value=0.0)
            for measure, each in found
        ]
        is_share = metric is not None and metric.kind is MetricKind.BOOLEAN
        return MetricFigures(figures=figures_of(observed, is_share=is_share), unit=unit, truncated=truncated)

    async def _newest(self, caller: Caller, where: dict[str, str]) -> AsyncIterator[Feedback]:
        token = ""
        while True:
            page = PageRequest(size=min(MAX_PAGE_SIZE, self.max_values), token=token, newest_first=True)
            found = await self.feedback.list(caller.project, page=page, where=where)
            for each in found.items:
                yield each
            if not (token := found.next_token):
                return


def _is_of(metric: FeedbackMetric | None, given: Given) -> bool:
    """Return whether a value is of the metric's kind: a deleted one of its name may have been of another."""
    return metric is None or getattr(given, FIELD_OF[metric.kind]) not in (None, "")


def _matures(measure: Measure | None, begin: datetime) -> bool:
    """Return whether a value is of an answer that matures from then on: of earlier ones not all values are known."""
    return measure is not None and measure.mature_time is not None and measure.mature_time >= begin


def _observed(feedback: Feedback, given: Given, now: datetime) -> Observed:
    measure = given.measure
    return Observed(
        variant=feedback.variant,
        rollout=feedback.rollout,
        value=measure.value if measure else given.number,
        category=given.category,
        weight=measure.weight if measure else 1.0,
        business_value=(measure.business_value or 0.0) if measure else 0.0,
        absent=given.absent,
        immature=bool(measure and measure.mature_time and measure.mature_time > now),
    )
