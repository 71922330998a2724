"""Expect a value of each metric that matures, once an answer is given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cachetools import TTLCache

from tidemill_core.application import Caller, Clock
from tidemill_core.resources import list_all
from tidemill_feedback.maturity.domain import ExpectedValue
from tidemill_feedback.maturity.ports import ExpectedValues
from tidemill_feedback.metrics.ports import FeedbackMetrics

_MAX_PROJECTS = 1000


class MaturingMetrics:
    """The metrics of projects that mature, cached: answers of projects that declare none cost no read each."""

    def __init__(self, metrics: FeedbackMetrics, clock: Clock, *, recheck: timedelta) -> None:
        self._metrics = metrics
        self._recent: TTLCache[str, Mapping[str, timedelta], datetime] = TTLCache(
            _MAX_PROJECTS, ttl=recheck, timer=clock.now
        )

    async def __call__(self, project: str) -> Mapping[str, timedelta]:
        """Return after how long each matures, by id, as that is or was at most `recheck` ago."""
        if (found := self._recent.get(project)) is None:
            declared = [each async for each in list_all(self._metrics, project)]
            found = {each.id: each.matures_after for each in declared if each.matures_after is not None}
            self._recent[project] = found
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
                project=caller.project, inference=inference, metric=metric, since=asked_at, due=asked_at + matures_after
            )
            for metric, matures_after in metrics.items()
        ]
        await self.expected.add(values)
