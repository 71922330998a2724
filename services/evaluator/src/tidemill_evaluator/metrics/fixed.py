"""What families have in common whose metrics every project can use, and which never change."""

from collections.abc import Collection, Mapping, Sequence

from tidemill_core.application import Caller
from tidemill_evaluator.metrics.domain.metric import Metric


class FixedMetrics:
    """All of a `ports.MetricFamily` but the scores."""

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self._metrics = metrics

    @property
    def names(self) -> Sequence[str]:
        """See `KnownMetrics.names`."""
        return list(self._metrics)

    def find(self, name: str) -> Metric | None:
        """See `KnownMetrics.find`."""
        return self._metrics.get(name)

    async def check(self, caller: Caller, names: Collection[str], *, gating: bool) -> None:
        """See `MetricFamily.check`; every project can use them."""

    async def pin(
        self, caller: Caller, names: Collection[str], *, answering: Collection[str], gating: bool
    ) -> Mapping[str, str]:
        """See `MetricFamily.pin`; they are the same for the whole evaluation."""
        del caller, names, answering, gating
        return {}
