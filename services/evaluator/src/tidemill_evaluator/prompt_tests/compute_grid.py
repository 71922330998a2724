"""Computes the figures of variants, with confidence intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from tidemill_evaluator.errors import TOO_FEW_ANSWERS, NoVerdict
from tidemill_evaluator.evaluations.domain.clusters import Traits, numbered
from tidemill_evaluator.evaluations.domain.comparison import Interval
from tidemill_evaluator.evaluations.ports import Intervals
from tidemill_evaluator.gates.domain.dependence import DEFAULT
from tidemill_evaluator.metrics.domain.metric import Metric
from tidemill_evaluator.metrics.registry import ALWAYS, Registry
from tidemill_evaluator.prompt_tests.domain.cells import (
    INPUT_TOKENS,
    SPENT,
    TOKENS_IN,
    CaseCells,
    VariantFigures,
    VariantMeasure,
    counted,
    observations,
    values_of,
)
from tidemill_evaluator.prompt_tests.domain.grid import Grid
from tidemill_evaluator.suites.domain.cases import Case

MIN_OBSERVATIONS = 2
"""For an interval."""
MAX_LACKING = 0.2
"""Share of the cases that both answered and a judge could not score, for an interval of the difference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeGrid:
    """Intervals of the differences of a metric hold all together (Bonferroni over the variants beside the first)."""

    intervals: Intervals
    metrics: Registry

    async def __call__(
        self, grid: Grid, cases: Sequence[Case], results: Sequence[CaseCells]
    ) -> tuple[VariantFigures, ...]:
        """Return the figures of each variant.

        Raises:
            NoVerdict: no variant answered a case.

        """
        figures = [counted(results, number) for number in range(len(grid.variants))]
        if not any(each.answered for each in figures):
            why = ", ".join(sorted({each.failure for each in figures}))
            message = f"none of {len(results)} cases was answered by a variant: {why}"
            raise NoVerdict(TOO_FEW_ANSWERS, message)
        traits = numbered(cases, DEFAULT)
        found = {name for each in results for cell in each.cells for name in cell.scores}
        first = [*grid.metrics, *ALWAYS, *SPENT, INPUT_TOKENS]
        names = [name for name in dict.fromkeys([*first, *sorted(found)]) if name in found]
        measures = [
            [
                measure
                for name in names
                if (measure := await self._measure(grid, results, traits, variant=number, metric=self._metric(name)))
            ]
            for number in range(len(grid.variants))
        ]
        return tuple(replace(each, measures=tuple(own)) for each, own in zip(figures, measures, strict=True))

    def _metric(self, name: str) -> Metric:
        return TOKENS_IN if name == INPUT_TOKENS else self.metrics.of(name)

    async def _measure(
        self,
        grid: Grid,
        results: Sequence[CaseCells],
        traits: Mapping[str, Traits],
        *,
        variant: int,
        metric: Metric,
    ) -> VariantMeasure | None:
        values = values_of(results, variant, metric.name)
        own = observations(values, traits)
        if not own:
            return None
        interval = await self._of_mean(own, metric, grid.confidence)
        measure = VariantMeasure(
            metric=metric.name,
            less_is_better=metric.less_is_better,
            observations=len(own),
            mean=fmean(own),
            low=interval.low if interval else None,
            high=interval.high if interval else None,
        )
        if not variant:
            return measure
        others = values_of(results, 0, metric.name)
        gains = {case: value - others[case] for case, value in values.items() if case in others}
        differences = observations(gains, traits)
        if not differences:
            return measure
        measure = replace(measure, pairs=len(differences), difference=fmean(differences))
        if len(differences) < MIN_OBSERVATIONS or _lacks_many(results, variant, metric, scored=len(gains)):
            return measure
        confidence = 1 - (1 - grid.confidence) / (len(grid.variants) - 1)
        interval = await self.intervals.of_mean(differences, confidence=confidence, bounded=metric.bounded)
        return replace(measure, difference_low=interval.low, difference_high=interval.high)

    async def _of_mean(self, values: Sequence[float], metric: Metric, confidence: float) -> Interval | None:
        """Return the interval of a mean: of values in [0, 1], which are half as far apart as differences may be."""
        if len(values) < MIN_OBSERVATIONS:
            return None
        if not metric.bounded:
            return await self.intervals.of_mean(values, confidence=confidence, bounded=False)
        stretched = [2 * min(max(value, 0.0), 1.0) - 1 for value in values]
        found = await self.intervals.of_mean(stretched, confidence=confidence, bounded=True)
        return Interval(low=(found.low + 1) / 2, high=(found.high + 1) / 2)


def _lacks_many(results: Sequence[CaseCells], variant: int, metric: Metric, *, scored: int) -> bool:
    """Whether too many cases that both answered have no value of both: those that have are then no sample of all."""
    answered = sum(not each.cells[0].failure and not each.cells[variant].failure for each in results)
    return bool(metric.unreliable) and answered - scored > MAX_LACKING * answered
