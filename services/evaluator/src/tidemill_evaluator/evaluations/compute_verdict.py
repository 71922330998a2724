"""Computes comparisons with confidence intervals from case results."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import methodcaller

from tidemill_evaluator.errors import TOO_FEW_ANSWERS, NoVerdict
from tidemill_evaluator.evaluations.domain.comparison import (
    Comparison,
    Evidence,
    Interval,
    asked_of,
    averages,
    compared,
    repeats_of,
    undecided,
)
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.domain.metrics import UNBOUNDED
from tidemill_evaluator.evaluations.domain.results import CaseResult
from tidemill_evaluator.evaluations.ports import Intervals

NOTHING_KNOWN = Interval(low=-1.0, high=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeVerdict:
    """Bounds are those of the paired difference's interval, not of the means.

    The unit of observation is the question: repeats of a question count as their mean (Field and Welsh, Bootstrapping
    clustered data, 2007).
    """

    intervals: Intervals
    evidence: Evidence

    async def __call__(
        self, evaluation: Evaluation, results: Sequence[CaseResult], questions: Mapping[tuple[str, str], str]
    ) -> list[Comparison]:
        """Return the comparisons, requirements first.

        `questions` maps (set, case) to the question that repeats share.

        Raises:
            NoVerdict: too few cases were answered.

        """
        self.refuse_undecided(evaluation, results)
        if not evaluation.comparing.require and not any(result.answered for result in results):
            message = f"none of {len(results)} cases was answered by both sides; `evaluations cases` shows the failures"
            raise NoVerdict(TOO_FEW_ANSWERS, message)
        comparisons = list[Comparison]()
        for asked in asked_of(evaluation.case_sets, evaluation.comparing.require):
            of_set = [result for result in results if result.case_set == asked.case_set]
            repeats = repeats_of(of_set, questions)
            interval = NOTHING_KNOWN
            if repeats:
                interval = await self.intervals.of_mean(
                    averages(repeats, methodcaller("difference", asked.metric)),
                    confidence=evaluation.confidence,
                    bounded=asked.metric not in UNBOUNDED,
                )
            comparisons.append(compared(asked, of_set, repeats, interval, evidence=self.evidence))
        return comparisons

    def refuse_undecided(self, evaluation: Evaluation, results: Iterable[CaseResult]) -> None:
        """Fail early when too few cases of a required set can still be answered.

        Raises:
            NoVerdict: naming the set, and what kept its cases from answers.

        """
        by_set = {case_set.name: list[CaseResult]() for case_set in evaluation.required_sets}
        for result in results:
            if result.case_set in by_set:
                by_set[result.case_set].append(result)
        for case_set in evaluation.required_sets:
            if why := undecided(by_set[case_set.name], case_set.size, self.evidence):
                raise NoVerdict(TOO_FEW_ANSWERS, f"{case_set.name}: {why}")
