"""Says in which slices of the cases a candidate gains or loses."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from tidemill_core.multiplicity import holm
from tidemill_evaluator.evaluations.domain.clusters import TraitsByCase, answered_of, averages, clusters_of
from tidemill_evaluator.evaluations.domain.comparison import Asked, Evidence
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.domain.results import CaseResult, scored_in
from tidemill_evaluator.evaluations.domain.slices import ComparedSlices, SliceComparison
from tidemill_evaluator.evaluations.ports import Intervals
from tidemill_evaluator.gates.domain.spending import corrected_confidence
from tidemill_evaluator.metrics.registry import ALWAYS, Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sliced:
    """What both sides answered of a slice, by one metric."""

    case_set: str
    label: str
    value: str
    metric: str
    questions: int
    baseline: float
    candidate: float
    differences: Sequence[float]
    """Gains, one per cluster, at least one."""

    @property
    def clusters(self) -> int:
        """How many clusters it has."""
        return len(self.differences)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareSlices:
    """Slices are evidence for people: no verdict rests on one.

    Of a gate the metrics that it requires are compared, by hand all that are bounded. All slices with enough clusters,
    of all sets and metrics, are one family for the correction by Holm.
    """

    intervals: Intervals
    metrics: Registry
    evidence: Evidence

    async def __call__(
        self,
        evaluation: Evaluation,
        results: Sequence[CaseResult],
        traits: TraitsByCase,
        numbers: Mapping[str, int],
    ) -> ComparedSlices:
        """Return the comparisons by set, label and metric; of too many those with the most cases."""
        sliced, left_out = await asyncio.to_thread(self._sliced, evaluation, results, traits)
        found = [await self._compared(evaluation, each, numbers) for each in sliced]
        known = iter(holm([each.p_value for each in found if each.p_value is not None]))
        found = [each if each.p_value is None else replace(each, adjusted_p_value=next(known)) for each in found]
        ordered = sorted(found, key=lambda each: (each.case_set, each.label, each.value, each.metric))
        return ComparedSlices(comparisons=ordered, left_out=left_out)

    async def _compared(self, evaluation: Evaluation, sliced: _Sliced, numbers: Mapping[str, int]) -> SliceComparison:
        confidence = corrected_confidence(evaluation.comparing.confidence, numbers.get(sliced.case_set, 0))
        interval = await self.intervals.of_mean(sliced.differences, confidence=confidence, bounded=True)
        enough = sliced.clusters >= self.evidence.min_slice
        return SliceComparison(
            case_set=sliced.case_set,
            metric=sliced.metric,
            label=sliced.label,
            value=sliced.value,
            cases=sliced.questions,
            clusters=sliced.clusters,
            baseline=sliced.baseline,
            candidate=sliced.candidate,
            difference=fmean(sliced.differences),
            low=interval.low,
            high=interval.high,
            enough=enough,
            p_value=await self.intervals.p_value(sliced.differences) if enough else None,
        )

    def _asked(self, evaluation: Evaluation, case_set: str, results: Sequence[CaseResult]) -> Sequence[Asked]:
        """Return what is compared on a set: what its gate requires of it, or what is computed by hand."""
        sets = [each for each in evaluation.case_sets if each.name == case_set]
        require = evaluation.comparing.require
        required = [each.metric for each in require if any(map(each.is_of, sets))]
        names = required if require else [*ALWAYS, *evaluation.comparing.metrics, *scored_in(results)]
        asked = [Asked.by(self.metrics.of(name), case_set) for name in dict.fromkeys(names)]
        return [each for each in asked if each.bounded]

    def _sliced(
        self, evaluation: Evaluation, results: Sequence[CaseResult], traits: TraitsByCase
    ) -> tuple[list[_Sliced], int]:
        """Return what is compared of slices that have an answered question, and how many are left out."""
        of_set = defaultdict[str, list[CaseResult]](list)
        of_slice = defaultdict[tuple[str, str, str], list[CaseResult]](list)
        for result in results:
            of_set[result.case_set].append(result)
            for label, value in traits[result.case_set, result.case].slices.items():
                of_slice[result.case_set, label, value].append(result)
        by_set = {name: self._asked(evaluation, name, of_set[name]) for name in {name for name, _, _ in of_slice}}
        largest = sorted(of_slice.items(), key=lambda each: (-len(each[1]), each[0]))
        every = [(key, found, asked) for key, found in largest for asked in by_set[key[0]]]
        kept = every[: self.evidence.max_slices]
        sliced = [
            _Sliced(
                case_set=case_set,
                label=label,
                value=value,
                metric=asked.metric,
                questions=sum(len(each.questions) for each in clusters),
                baseline=fmean(averages(clusters, asked.of_baseline)),
                candidate=fmean(averages(clusters, asked.of_candidate)),
                differences=averages(clusters, asked.gain),
            )
            for (case_set, label, value), found, asked in kept
            if (clusters := answered_of(clusters_of(found, traits, asked.metric)))
        ]
        return sliced, len(every) - len(kept)
