"""From the results of all cases to comparisons with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_evaluator.application.ports import Intervals
from tidemill_evaluator.domain.cases import CaseResult
from tidemill_evaluator.domain.comparison import Comparison, asked_of, compared
from tidemill_evaluator.domain.evaluation import Evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """All bounds are of the interval of the paired difference, never of the mean. One seed for all of them."""

    intervals: Intervals

    async def __call__(self, evaluation: Evaluation, results: Sequence[CaseResult]) -> list[Comparison]:
        """Return the comparisons, requirements first; every set of cases has at least one result."""
        comparisons = list[Comparison]()
        for asked in asked_of(evaluation.case_sets, evaluation.comparing.require):
            of_set = [result for result in results if result.case_set == asked.case_set]
            interval = await self.intervals.of_mean(
                [result.gain(asked.metric) for result in of_set],
                confidence=evaluation.comparing.confidence,
                seed=evaluation.seed,
            )
            comparisons.append(compared(asked, of_set, interval))
        return comparisons
