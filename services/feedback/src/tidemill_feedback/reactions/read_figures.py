"""Read what the values of a metric say of the variants of a deployment."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from tidemill_core.application import Caller, Clock, PageRequest
from tidemill_core.paging import MAX_PAGE_SIZE
from tidemill_core.resources import check_slug
from tidemill_feedback.errors import FeedbackMetricNotFound
from tidemill_feedback.metrics.domain.figures import MetricFigures, Observed, figures_of
from tidemill_feedback.metrics.domain.metric import MetricKind
from tidemill_feedback.metrics.find_metric import FindMetric
from tidemill_feedback.reactions.domain.feedback import Feedback, Given
from tidemill_feedback.reactions.domain.reaction import RATING
from tidemill_feedback.reactions.ports import FeedbackStore


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFigures:
    """Implements `metrics.ports.FiguresOf`. It reads the newest values, at most so many."""

    feedback: FeedbackStore
    metric: FindMetric
    clock: Clock
    at_most: int

    async def __call__(
        self, caller: Caller, metric_id: str, deployment: str, *, since: datetime | None
    ) -> MetricFigures:
        """Return the figures of what was first given since then, by variant and rollout.

        Raises:
            FeedbackMetricNotFound: the project declares none with this id, and it is not `rating`.
            InvalidInput: the deployment's name is none.

        """
        check_slug("deployment", deployment)
        metric = await self.metric(caller, metric_id)
        if metric is None and metric_id != RATING:
            raise FeedbackMetricNotFound(metric_id)
        now, unit, read, observed = self.clock.now(), "", 0, list[Observed]()
        async for each in self._newest(caller, {"deployment": deployment, "metric": metric_id}):
            if read == self.at_most or (since and each.create_time and each.create_time < since):
                break
            read += 1
            if each.teaches and each.current:
                observed.append(_observed(each, each.current, now))
                unit = unit or (each.current.measure.unit if each.current.measure else "")
        is_share = metric is not None and metric.kind is MetricKind.BOOLEAN
        figures = figures_of(observed, is_share=is_share)
        return MetricFigures(figures=figures, unit=unit, truncated=read == self.at_most)

    async def _newest(self, caller: Caller, where: dict[str, str]) -> AsyncIterator[Feedback]:
        token = ""
        while True:
            page = PageRequest(size=min(MAX_PAGE_SIZE, self.at_most), token=token, newest_first=True)
            found = await self.feedback.list(caller.project, page=page, where=where)
            for each in found.items:
                yield each
            if not (token := found.next_token):
                return


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
