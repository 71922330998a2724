"""The metrics of this service's own, computed beside the event loop where they take time."""

from collections.abc import Collection
from functools import partial

from tidemill_core.application import Caller
from tidemill_evaluator.metrics.domain.metric import Pair, PairScores
from tidemill_evaluator.metrics.fixed import FixedMetrics
from tidemill_evaluator.metrics.registry import METRICS, scores_of
from tidemill_kit.workers.fair_share import Turns

_LONG_TEXT = 4000
"""Characters of a pair above which scores take more than some milliseconds."""


class OwnMetrics(FixedMetrics):
    """Implements `ports.MetricFamily`: `METRICS`."""

    def __init__(self, turns: Turns) -> None:
        super().__init__(METRICS)
        self._turns = turns

    async def scores(self, caller: Caller, names: Collection[str], pair: Pair) -> PairScores:
        """See `MetricFamily.scores`."""
        texts = [each.text for each in (pair.baseline, pair.candidate) if each]
        if len(pair.case.reference) + sum(map(len, texts)) < _LONG_TEXT:
            return scores_of(names, pair)
        return await self._turns.in_thread(caller.project, partial(scores_of, names, pair))
