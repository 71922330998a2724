"""Use case: say how probably a gate's cases show a gain."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from tidemill_core.application import Caller, PageRequest
from tidemill_core.errors import InvalidInput, NotFound, PermissionDenied
from tidemill_evaluator.evaluations.domain.clusters import (
    Traits,
    TraitsByCase,
    answered_of,
    averages,
    clusters_of,
    numbered,
)
from tidemill_evaluator.evaluations.domain.comparison import Evidence
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.domain.gaps import with_gaps
from tidemill_evaluator.evaluations.domain.job import State
from tidemill_evaluator.evaluations.domain.power import Bound, Counted, RequirementPower
from tidemill_evaluator.evaluations.domain.results import CaseResult
from tidemill_evaluator.evaluations.ports import CaseName, CaseResults, Evaluations, Inference, Powers
from tidemill_evaluator.gates.domain.dependence import DEFAULT
from tidemill_evaluator.gates.domain.gate import Gate, Requirement
from tidemill_evaluator.gates.domain.spending import SpentLevel, corrected_confidence
from tidemill_evaluator.gates.ports import Gates, SpentLevels
from tidemill_evaluator.metrics.domain.metric import Metric
from tidemill_evaluator.metrics.registry import Registry
from tidemill_evaluator.safety.domain.expectations import EXPECTATION_GAP
from tidemill_evaluator.suites.domain.cases import Case, CaseSet
from tidemill_evaluator.suites.domain.limits import Limits
from tidemill_evaluator.suites.domain.suite import Suite, unusable
from tidemill_evaluator.suites.ports import Cases, Suites

POWER = 0.8
DEFAULT_GAIN = 0.05
_LATEST = 60
"""Evaluations among which the last one that compared the answers of a requirement is searched."""
CaseTraits = Mapping[str, Traits]
"""Cases of a set to their questions and clusters."""
Carrying = Mapping[str, Sequence[Traits]]
"""Metrics to the traits of the cases that they apply to."""
Differences = Mapping[str, Sequence[float]]
"""Metrics to the paired differences of the last candidate, one per cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What one call knows of a gate; each set of cases and its results are read once."""

    gate: Gate
    baseline: str
    suites: Mapping[str, Suite]
    completed: Sequence[Evaluation]
    """Newest first."""
    no_verdict: str
    """Why no candidate comes to a verdict; "" where they do."""
    traits: dict[CaseSet, tuple[CaseTraits, Carrying]] = field(default_factory=dict)
    differences: dict[tuple[str, CaseSet], Differences] = field(default_factory=dict)

    def judged(self, requirement: Requirement) -> tuple[Evaluation, CaseSet] | None:
        """Return the last evaluation that compared what is required, and on which set."""
        for evaluation in self.completed:
            compared = {each.case_set for each in evaluation.comparisons if each.metric == requirement.metric}
            for each in evaluation.case_sets:
                if requirement.is_of(each) and each.name in compared:
                    return evaluation, each
        return None

    def next_set(self, requirement: Requirement, last: CaseSet | None) -> CaseSet | None:
        """Return what the next candidate is judged on: the suite's cases, or those of the last held-out part."""
        if not requirement.suite:
            return last
        suite = self.suites.get(requirement.suite)
        return suite.case_set if suite else None


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatePower:
    """Judges as an evaluation does: the same cases, counted by cluster, at the level of the next candidate.

    How differences vary is known from the last evaluation of the gate that compared them, else assumed. The next
    candidate brings a held-out part of its own, as a rule: it is the first on that, and its size is taken for the last
    one's.
    """

    gates: Gates
    suites: Suites
    cases: Cases
    evaluations: Evaluations
    results: CaseResults
    levels: SpentLevels
    inference: Inference
    powers: Powers
    metrics: Registry
    evidence: Evidence
    limits: Limits

    async def __call__(self, caller: Caller, gate_id: str, *, gain: float = 0.0) -> Sequence[RequirementPower]:
        """Return the power of each requirement; a gain of 0 means DEFAULT_GAIN.

        Raises:
            GateNotFound: there is none.
            InvalidInput: no mean of differences in [-1, 1] is this gain.
            QueueFull: too many ask at the same time.
            DependencyUnavailable: inference does not answer.

        """
        if not -1 < gain < 1:
            field_name, text = "gain", f"is {gain}: send a number above -1 and below 1, or 0 for {DEFAULT_GAIN}"
            raise InvalidInput.at(field_name, text)
        gate = await self.gates.get(caller.project, gate_id)
        async with self.powers.place(caller.project):
            known = await self._known(caller, gate)
            return [await self._of(known, each, gain or DEFAULT_GAIN) for each in gate.require]

    async def _known(self, caller: Caller, gate: Gate) -> _Known:
        names = dict.fromkeys(each.suite for each in gate.require if each.suite)
        suites = {name: found for name in names if (found := await self._suite(gate.project, name))}
        page = PageRequest(size=_LATEST, newest_first=True)
        latest = await self.evaluations.list(gate.project, page=page, where={"gate": gate.id})
        return _Known(
            gate=gate,
            baseline=await self._live(caller, gate),
            suites=suites,
            completed=[
                each for each in latest.items if each.state is State.COMPLETED and not each.comparing.reevaluates
            ],
            no_verdict=_apart(gate) or unusable(list(suites.values()), self.limits, held_out=bool(gate.datasets)),
        )

    async def _of(self, known: _Known, requirement: Requirement, gain: float) -> RequirementPower:
        found = RequirementPower.of(requirement, gain)
        if why := self._never(known, requirement):
            return replace(found, message=why)
        judged = known.judged(requirement)
        case_set = known.next_set(requirement, judged[1] if judged else None)
        if case_set is None:
            return replace(found, message=_missing(requirement))
        found = replace(found, case_set=case_set.name)
        try:
            _, carrying = await self._traits(known, case_set)
            of_metric = (await self._differences(known, *judged))[requirement.metric] if judged else ()
        except NotFound:
            return replace(found, message="its cases cannot be read: they are not there any more, or not shared")
        except (InvalidInput, PermissionDenied) as error:
            return replace(found, message=f"its cases cannot be read: {error.message}")
        if not (carried := carrying[requirement.metric]):
            return replace(found, message=f"{requirement.metric} applies to none of its cases")
        confidence = await self._confidence(known, case_set)
        counted = Counted.of(carried)
        bound = Bound(above=requirement.gain_above, confidence=confidence, clusters=counted.clusters)
        power = await self.powers.of(of_metric, bound, gain=gain, power=POWER)
        minimum = self.evidence.questions_for(requirement)
        evaluation = judged[0].id if judged and of_metric else ""
        return found.stated(counted, bound, power, minimum=minimum, evaluation=evaluation)

    def _never(self, known: _Known, requirement: Requirement) -> str:
        """Return why it has no figures, whatever its cases are; "" where it may."""
        if not self.metrics.of(requirement.metric).bounded:
            return f"{requirement.metric} has no bounds: its power is not computed"
        return f"no candidate comes to a verdict: {known.no_verdict}" if known.no_verdict else ""

    async def _live(self, caller: Caller, gate: Gate) -> str:
        """Return the live model; "" where the deployment does not exist yet."""
        try:
            return (await self.inference.live(caller, gate.deployment)).model
        except NotFound:
            return ""

    async def _suite(self, project: str, name: str) -> Suite | None:
        try:
            found = await self.suites.get(project, name)
        except NotFound:
            return None
        return found if found.content else None

    async def _traits(self, known: _Known, case_set: CaseSet) -> tuple[CaseTraits, Carrying]:
        if case_set not in known.traits:
            cases = await self.cases.read(known.gate.project, case_set)
            metrics = [self.metrics.of(each.metric) for each in known.gate.require]
            cluster_by = known.gate.cluster_by or DEFAULT
            known.traits[case_set] = await asyncio.to_thread(_counted, cases, metrics, cluster_by)
        return known.traits[case_set]

    async def _differences(self, known: _Known, evaluation: Evaluation, case_set: CaseSet) -> Differences:
        name = (evaluation.id, case_set)
        if name not in known.differences:
            traits, _ = await self._traits(known, case_set)
            names = [CaseName(case_set.name, case) for case in traits]
            results = await self.results.scores(evaluation.project, evaluation.id, names)
            metrics = {each.metric: self.metrics.of(each.metric) for each in known.gate.require}
            known.differences[name] = await asyncio.to_thread(_differences, results, traits, metrics.values())
        return known.differences[name]

    async def _confidence(self, known: _Known, case_set: CaseSet) -> float:
        """Return the confidence at which the next candidate is judged."""
        gate = known.gate
        of_its_own = bool(case_set.dataset) and not gate.candidate_prompt
        if gate.collection or of_its_own or not known.baseline:
            return gate.confidence
        level = SpentLevel.on(gate.project, baseline=known.baseline, case_set=case_set.name)
        try:
            spent = await self.levels.get(gate.project, level.id)
        except NotFound:
            return gate.confidence
        return corrected_confidence(gate.confidence, spent.count + 1)


def _counted(
    cases: Sequence[Case], metrics: Iterable[Metric], cluster_by: Sequence[str]
) -> tuple[CaseTraits, Carrying]:
    traits = numbered(cases, cluster_by)
    return traits, {each.name: _carrying(each, cases, traits) for each in metrics}


def _carrying(metric: Metric, cases: Sequence[Case], traits: CaseTraits) -> Sequence[Traits]:
    """Return the traits of the cases that a metric applies to; a gap needs both cases of a pair."""
    found = [traits[case.id] for case in cases if metric.applies_to(case)]
    if metric.name != EXPECTATION_GAP:
        return found
    paired = Counter(each.pair for each in found if each.pair)
    return [each for each in found if paired[each.pair] > 1]


def _differences(results: Sequence[CaseResult], traits: CaseTraits, metrics: Iterable[Metric]) -> Differences:
    of_results = {(result.case_set, result.case): traits[result.case] for result in results}
    compared = with_gaps(results, of_results)
    return {each.name: _of_metric(each, compared, of_results) for each in metrics if each.bounded}


def _of_metric(metric: Metric, results: Sequence[CaseResult], traits: TraitsByCase) -> Sequence[float]:
    answered = answered_of(clusters_of(results, traits, metric.name))
    return averages(answered, partial(CaseResult.difference, metric=metric.name, less_is_better=metric.less_is_better))


def _apart(gate: Gate) -> str:
    """Return why a gate of an earlier version that asks for two held-out parts passes no candidate, "" for others."""
    if len(gate.datasets) < 2:  # noqa: PLR2004 - two
        return ""
    names = " and ".join(gate.datasets)
    return f"held-out cases of {names} are required, and a candidate is trained on one dataset: name one"


def _missing(requirement: Requirement) -> str:
    if requirement.suite:
        return f"suite {requirement.suite} does not exist yet"
    return f"how many held-out cases {requirement.dataset} has is known once a candidate was evaluated"
