"""Computes the figures of a retrieval evaluation, with confidence intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidemill_evaluator.errors import NO_JUDGEMENTS, NoVerdict
from tidemill_evaluator.evaluations.ports import Intervals
from tidemill_evaluator.retrieval_evaluations.domain.results import (
    LATENCY,
    MEASURED,
    RetrievalMeasure,
    RetrievalResult,
    by_question,
    latency_of,
    side_mean,
    values_of,
)
from tidemill_evaluator.retrieval_evaluations.domain.retrieval_evaluation import Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeFigures:
    """With two sides the bounds are those of the paired difference, else of the mean. A question counts once."""

    intervals: Intervals

    async def __call__(
        self, confidence: float, results: Sequence[RetrievalResult], questions: Mapping[str, str]
    ) -> Figures:
        """Return the figures; `questions` maps cases to what repeats of a question share.

        Raises:
            NoVerdict: no case counts.

        """
        grouped = by_question(results, questions)
        gone, failures = sum(each.all_gone for each in results), sum(each.failed for each in results)
        if not grouped:
            message = (
                f"none of {len(results)} judged cases counts: of {gone} the relevant documents are gone from "
                f"the index, and {failures} could not be searched; import the suite again"
            )
            raise NoVerdict(NO_JUDGEMENTS, message)
        paired = any(each.candidate for repeats in grouped for each in repeats)
        measures = [await self._measure(grouped, metric, confidence, paired=paired) for metric in MEASURED]
        return Figures(
            measures=tuple(measures),
            baseline_latency=latency_of([each.baseline for each in results]),
            candidate_latency=latency_of([each.candidate for each in results if each.candidate]),
            gone=gone,
            failures=failures,
        )

    async def _measure(
        self, grouped: Sequence[Sequence[RetrievalResult]], metric: str, confidence: float, *, paired: bool
    ) -> RetrievalMeasure:
        interval = await self.intervals.of_mean(
            values_of(grouped, metric), confidence=confidence, bounded=metric != LATENCY
        )
        baseline = side_mean(grouped, metric, candidate=False)
        candidate = side_mean(grouped, metric, candidate=True) if paired else 0.0
        return RetrievalMeasure(
            metric=metric,
            questions=len(grouped),
            baseline=baseline,
            candidate=candidate,
            difference=candidate - baseline if paired else 0.0,
            low=interval.low,
            high=interval.high,
        )
