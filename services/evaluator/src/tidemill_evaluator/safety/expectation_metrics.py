"""The metrics of what cases expect, computed beside the event loop."""

from collections.abc import Collection
from functools import partial

from tidemill_core.application import Caller
from tidemill_evaluator.metrics.domain.metric import GivenAnswer, Metric, Need, Pair, PairScores, Scored, Scores
from tidemill_evaluator.metrics.fixed import FixedMetrics
from tidemill_evaluator.safety.domain.expectations import EXPECTATION_GAP, EXPECTATION_MET, is_met
from tidemill_evaluator.suites.domain.expectations import Expectation
from tidemill_kit.workers.fair_share import Turns

_NEEDS = frozenset({Need.EXPECTATION})
_METRICS = {
    each.name: each
    for each in (
        Metric(
            name=EXPECTATION_MET, source="1 where all holds that the case expects, else 0", needs=_NEEDS, by_case=True
        ),
        Metric(
            name=EXPECTATION_GAP,
            source="how differently the cases of a pair meet their expectation (Kusner et al. 2017)",
            needs=_NEEDS,
            less_is_better=True,
        ),
    )
}
"""The gap is computed once all cases are answered: see `evaluations.domain.gaps`."""


class ExpectationMetrics(FixedMetrics):
    """Implements `metrics.ports.MetricFamily`: of every case that has an expectation."""

    def __init__(self, turns: Turns) -> None:
        super().__init__(_METRICS)
        self._turns = turns

    async def scores(self, caller: Caller, _names: Collection[str], pair: Pair) -> PairScores:
        """See `MetricFamily.scores`."""
        if pair.case.expect is None:
            return PairScores()
        return await self._turns.in_thread(caller.project, partial(_scores_of, pair.case.expect, pair))


def _scores_of(expected: Expectation, pair: Pair) -> PairScores:
    return PairScores(baseline=_side(expected, pair.baseline), candidate=_side(expected, pair.candidate))


def _side(expected: Expectation, answered: GivenAnswer | None) -> Scores:
    return {} if answered is None else {EXPECTATION_MET: _met(expected, answered.text)}


def _met(expected: Expectation, text: str) -> Scored:
    """Return 1 or 0; None of an empty answer to a case that forbids texts alone, which neither has nor avoids them."""
    return None if expected.forbids_alone and not text.strip() else float(is_met(expected, text))
