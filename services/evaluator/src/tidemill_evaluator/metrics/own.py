"""The metrics of this service's own, computed beside the event loop where they take time."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial

from tidemill_core.application import Caller
from tidemill_evaluator.metrics.domain.metric import Metric, Pair, PairScores
from tidemill_evaluator.metrics.registry import METRICS, scores_of
from tidemill_kit.workers.fair_share import Turns

_LONG_TEXT = 4000
"""Characters of a pair above which scores take more than some milliseconds."""


class OwnMetrics:
    """Implements `ports.MetricFamily`: `METRICS`."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    @property
    def names(self) -> Sequence[str]:
        """See `KnownMetrics.names`."""
        return list(METRICS)

    def find(self, name: str) -> Metric | None:
        """See `KnownMetrics.find`."""
        return METRICS.get(name)

    async def check(self, caller: Caller, names: Collection[str], *, gating: bool) -> None:
        """See `MetricFamily.check`; every project can use them."""

    async def pin(
        self, caller: Caller, names: Collection[str], *, answering: Collection[str], gating: bool
    ) -> Mapping[str, str]:
        """See `MetricFamily.pin`; they are the same for the whole evaluation."""
        del caller, names, answering, gating
        return {}

    async def scores(self, caller: Caller, names: Collection[str], pair: Pair) -> PairScores:
        """See `MetricFamily.scores`."""
        texts = [each.text for each in (pair.baseline, pair.candidate) if each]
        if len(pair.case.reference) + sum(map(len, texts)) < _LONG_TEXT:
            return scores_of(names, pair)
        return await self._turns.in_thread(caller.project, partial(scores_of, names, pair))
