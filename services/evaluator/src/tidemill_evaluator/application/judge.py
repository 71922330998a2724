"""From the results of all cases to comparisons with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import methodcaller

from tidemill_evaluator.application.ports import Intervals
from tidemill_evaluator.domain.cases import CaseResult
from tidemill_evaluator.domain.comparison import Comparison, asked_of, averages, compared, repeats_of
from tidemill_evaluator.domain.evaluation import Evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """All bounds are of the interval of the paired difference, never of the mean. One seed for all of them.

    What is resampled are questions, not cases: repeats of one question stay together as their average (the cluster
    bootstrap: Field and Welsh, Bootstrapping clustered data, 2007).
    """

    intervals: Intervals

    async def __call__(
        self, evaluation: Evaluation, results: Sequence[CaseResult], questions: Mapping[tuple[str, str], str]
    ) -> list[Comparison]:
        """Return the comparisons, requirements first; every set of cases has at least one result.

        `questions` leads from (set, case) to what repeats of a question share.
        """
        comparisons = list[Comparison]()
        for asked in asked_of(evaluation.case_sets, evaluation.comparing.require):
            of_set = repeats_of([result for result in results if result.case_set == asked.case_set], questions)
            interval = await self.intervals.of_mean(
                averages(of_set, methodcaller("gain", asked.metric)),
                confidence=evaluation.comparing.confidence,
                seed=evaluation.seed,
            )
            comparisons.append(compared(asked, of_set, interval))
        return comparisons
