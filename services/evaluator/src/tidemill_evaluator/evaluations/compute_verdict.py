"""Computes comparisons with confidence intervals from case results."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tidemill_evaluator.errors import TOO_FEW_ANSWERS, NoVerdict
from tidemill_evaluator.evaluations.domain.clusters import (
    Cluster,
    TraitsByCase,
    answered_of,
    averages,
    clusters_of,
    questions_with_baseline,
)
from tidemill_evaluator.evaluations.domain.comparison import (
    Asked,
    Comparison,
    Evidence,
    Interval,
    asked_of,
    compared,
    impossible,
    undecided,
)
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.domain.results import CaseResult, scored_in
from tidemill_evaluator.evaluations.domain.worsening import compared_again
from tidemill_evaluator.evaluations.ports import Intervals
from tidemill_evaluator.gates.domain.spending import corrected_confidence
from tidemill_evaluator.metrics.registry import ALWAYS, Registry

NOTHING_KNOWN = Interval(low=-1.0, high=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeVerdict:
    """Bounds are those of the paired difference's interval, not of the means.

    The unit of observation is the cluster: repeats of a question count as their mean, and so do the questions that
    depend on one another (Field and Welsh, Bootstrapping clustered data, 2007).
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
    ) -> list[Comparison]:
        """Return the comparisons, requirements first.

        `numbers` maps a set to which candidate on it this is, where that is counted.
        """
        comparisons = list[Comparison]()
        of_sets = {case_set.name: list[CaseResult]() for case_set in evaluation.case_sets}
        for result in results:
            of_sets[result.case_set].append(result)
        scored = {name: self._scored(evaluation, of_set) for name, of_set in of_sets.items()}
        for asked in asked_of(evaluation.case_sets, evaluation.comparing.require, self.metrics.of, scored):
            of_set = of_sets[asked.case_set]
            clusters = clusters_of(of_set, traits, asked.metric)
            answered = answered_of(clusters)
            interval = NOTHING_KNOWN
            confidence = corrected_confidence(evaluation.comparing.confidence, numbers.get(asked.case_set, 0))
            if answered:
                interval = await self.intervals.of_mean(
                    averages(answered, asked.gain), confidence=confidence, bounded=asked.bounded
                )
            comparison = compared(asked, of_set, clusters, interval, evidence=self.evidence)
            if evaluation.comparing.reevaluates:
                questions = questions_with_baseline(of_set, traits, asked.metric)
                again = compared_again(asked, comparison, of_set, clusters, questions=questions, evidence=self.evidence)
                comparisons.append(again)
            else:
                comparisons.append(await self._explained(asked, comparison, answered, confidence))
        return comparisons

    def _scored(self, evaluation: Evaluation, results: Sequence[CaseResult]) -> Sequence[str]:
        """Return the metrics that are computed on a set: always, by request, and by its cases.

        What is always computed is left out where no answered case carries what it compares with.
        """
        answered = [result for result in results if result.answered]
        scored = scored_in(answered or results)
        always = [name for name in ALWAYS if name in scored or not answered]
        return list(dict.fromkeys([*always, *evaluation.comparing.metrics, *scored]))

    async def _explained(
        self, asked: Asked, found: Comparison, answered: Sequence[Cluster], confidence: float
    ) -> Comparison:
        """Say so where the cases cannot show at this level what is required, also if every answer were right."""
        shown = found.holds or not asked.bounded or found.low > found.gain_above
        if shown or not found.required or not answered:
            return found
        largest = averages(answered, asked.largest_gain)
        needed = await self.intervals.needed(largest, above=found.gain_above, confidence=confidence)
        return replace(found, note=found.note + impossible(found.clusters, needed, questions=found.cases))

    def refuse_unanswered(self, evaluation: Evaluation, results: Sequence[CaseResult]) -> None:
        """Refuse results that are too few for a verdict.

        Raises:
            NoVerdict: too few cases were answered.

        """
        self.refuse_undecided(evaluation, results)
        self.refuse_unreliable(evaluation, results)
        if not evaluation.comparing.require and not any(result.answered for result in results):
            message = f"none of {len(results)} cases was answered by both sides; `evaluations cases` shows the failures"
            raise NoVerdict(TOO_FEW_ANSWERS, message)

    def refuse_unreliable(self, evaluation: Evaluation, results: Sequence[CaseResult]) -> None:
        """Fail early when what computes a metric that was asked for has no value of too many cases.

        Raises:
            NoVerdict: naming the metric and the set.

        """
        for case_set in evaluation.case_sets:
            metrics = map(self.metrics.of, evaluation.metrics_on(case_set.name))
            for metric in [each for each in metrics if each.unreliable]:
                of_set = (result for result in results if result.case_set == case_set.name)
                lacking = sum(result.lacks(metric.name) for result in of_set)
                if lacking > self.evidence.max_unanswered * case_set.size:
                    message = (
                        f"{lacking} of {case_set.size} cases of {case_set.name} have no {metric.name}; the limit is "
                        f"{self.evidence.max_unanswered:.0%}: use a model that answers in JSON, and in time"
                    )
                    raise NoVerdict(metric.unreliable, message)

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
