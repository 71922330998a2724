"""Expect a value of each metric that matures, once an answer is given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tidemill_core.application import Caller, Clock
from tidemill_core.resources import list_all
from tidemill_feedback.maturity.domain import ExpectedValue
from tidemill_feedback.maturity.ports import ExpectedValues
from tidemill_feedback.metrics.domain.metric import FeedbackMetric
from tidemill_feedback.metrics.ports import FeedbackMetrics

_MAX_PROJECTS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class MaturingMetrics:
    """The metrics of projects that mature, cached: answers of projects that declare none cost no read each."""

    metrics: FeedbackMetrics
    clock: Clock
    recheck: timedelta
    _known: dict[str, tuple[datetime, Sequence[FeedbackMetric]]] = field(default_factory=dict)

    async def __call__(self, project: str) -> Sequence[FeedbackMetric]:
        """Return them as they are, or were shorter than `recheck` ago."""
        now = self.clock.now()
        until, known = self._known.get(project, (now, ()))
        if until > now:
            return known
        found = [each async for each in list_all(self.metrics, project) if each.matures_after is not None]
        if len(self._known) >= _MAX_PROJECTS:
            self._known.clear()
        self._known[project] = now + self.recheck, found
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectValues:
    """Implements `reactions.ports.AnswerGiven`. Idempotent."""

    maturing: MaturingMetrics
    expected: ExpectedValues
    deleted: Callable[[str], bool] = lambda _: False
    """Whether a project was deleted: nothing of it is stored behind its erasure."""

    async def __call__(self, caller: Caller, inference: str, *, asked_at: datetime) -> None:
        """Expect a value of each metric that matures."""
        metrics = await self.maturing(caller.project)
        if not metrics or self.deleted(caller.project):
            return
        values = [
            ExpectedValue(
                project=caller.project,
                inference=inference,
                metric=each.id,
                since=asked_at,
                due=asked_at + each.matures_after,
            )
            for each in metrics
            if each.matures_after is not None
        ]
        await self.expected.add(values)
