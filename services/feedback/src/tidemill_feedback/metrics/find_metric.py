"""Find the metric that a reaction names."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_core.application import Caller, PageRequest
from tidemill_feedback.metrics.domain.metric import BUILT_IN, FeedbackMetric
from tidemill_feedback.metrics.ports import FeedbackMetrics

_NAMED = 20
"""How many declared metrics an error names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FindMetric:
    """Reads declared metrics as they are stored; those that are built in cost no read."""

    metrics: FeedbackMetrics

    async def __call__(self, caller: Caller, name: str) -> FeedbackMetric | None:
        """Return a declared metric; None where the project declares none of the name."""
        if name in BUILT_IN or not name:
            return None
        found = (await self.metrics.get_many(caller.project, [name])).get(name)
        return None if found is None or found.deleted else found

    async def names(self, caller: Caller) -> Sequence[str]:
        """Return the names of the metrics that there are, of very many declared ones the first."""
        page = await self.metrics.list(caller.project, page=PageRequest(size=_NAMED))
        return [*BUILT_IN, *(each.id for each in page.items), *(["..."] if page.next_token else [])]
