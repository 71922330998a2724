"""Use case: say how probably a gate's cases show a gain."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import methodcaller

from tidemill_core.application import Caller, PageRequest
from tidemill_core.errors import InvalidInput, NotFound, PermissionDenied
from tidemill_evaluator.evaluations.domain.comparison import Evidence, averages, repeats_of
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.domain.job import State
from tidemill_evaluator.evaluations.domain.metrics import UNBOUNDED
from tidemill_evaluator.evaluations.domain.power import Bound, RequirementPower
from tidemill_evaluator.evaluations.ports import CaseName, CaseResults, Evaluations, Inference, Powers
from tidemill_evaluator.gates.domain.gate import Gate, Requirement
from tidemill_evaluator.gates.domain.spending import SpentLevel, corrected_confidence
from tidemill_evaluator.gates.ports import Gates, SpentLevels
from tidemill_evaluator.suites.domain.cases import CaseSet
from tidemill_evaluator.suites.ports import Cases, Suites

POWER = 0.8
DEFAULT_GAIN = 0.05
_LATEST = 20
"""Evaluations among which the last one with a verdict is searched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatePower:
    """Judges as an evaluation does: the same cases, counted by question, at the level of the next candidate.

    How differences vary is known from the gate's last evaluation with a verdict, else assumed.
    """

    gates: Gates
    suites: Suites
    cases: Cases
    evaluations: Evaluations
    results: CaseResults
    levels: SpentLevels
    inference: Inference
    powers: Powers
    evidence: Evidence

    async def __call__(self, caller: Caller, gate_id: str, *, gain: float = 0.0) -> Sequence[RequirementPower]:
        """Return the power of each requirement; a gain of 0 means DEFAULT_GAIN.

        Raises:
            GateNotFound: there is none.
            InvalidInput: no mean of differences in [-1, 1] is this gain.
            QueueFull: too many ask at the same time.
            DependencyUnavailable: inference does not answer.

        """
        if not -1 < gain < 1:
            field, text = "gain", f"is {gain}: send a number above -1 and below 1, or 0 for {DEFAULT_GAIN}"
            raise InvalidInput.at(field, text)
        gate = await self.gates.get(caller.project, gate_id)
        latest, baseline = await self._latest(gate), await self._live(caller, gate)
        return [await self._of(gate, each, latest, baseline, gain or DEFAULT_GAIN) for each in gate.require]

    async def _of(
        self, gate: Gate, requirement: Requirement, latest: Evaluation | None, baseline: str, gain: float
    ) -> RequirementPower:
        found = RequirementPower.of(requirement, gain)
        if requirement.metric in UNBOUNDED:
            return replace(found, message=f"{requirement.metric} has no bounds: its power is not computed")
        case_set = await self._case_set(gate, requirement, latest)
        if case_set is None:
            return replace(found, message=_missing(requirement))
        found = replace(found, case_set=case_set.name)
        try:
            questions = {case.asked for case in await self.cases.read(gate.project, case_set)}
            differences = await self._differences(requirement, latest)
        except (NotFound, InvalidInput, PermissionDenied) as error:
            return replace(found, message=f"its cases cannot be read: {error.message}")
        confidence = await self._confidence(gate, case_set, baseline)
        bound = Bound(above=requirement.gain_above, confidence=confidence, questions=len(questions))
        power = await self.powers.of(gate.project, differences, bound, gain=gain, power=POWER)
        minimum = max(self.evidence.min_questions, requirement.at_least)
        evaluation = latest.id if latest and differences else ""
        return found.stated(bound, power, minimum=minimum, evaluation=evaluation)

    async def _latest(self, gate: Gate) -> Evaluation | None:
        page = PageRequest(size=_LATEST, newest_first=True)
        found = await self.evaluations.list(gate.project, page=page, where={"gate": gate.id})
        return next((each for each in found.items if each.state is State.COMPLETED), None)

    async def _live(self, caller: Caller, gate: Gate) -> str:
        """Return the live model; "" where the deployment does not exist yet."""
        try:
            return (await self.inference.live(caller, gate.deployment)).model
        except NotFound:
            return ""

    async def _case_set(self, gate: Gate, requirement: Requirement, latest: Evaluation | None) -> CaseSet | None:
        if not requirement.suite:
            return _judged_on(requirement, latest)
        try:
            return (await self.suites.get(gate.project, requirement.suite)).case_set
        except NotFound:
            return None

    async def _differences(self, requirement: Requirement, latest: Evaluation | None) -> Sequence[float]:
        """Return the paired differences of the last candidate, one per question."""
        case_set = _judged_on(requirement, latest)
        if latest is None or case_set is None:
            return ()
        cases = await self.cases.read(latest.project, case_set)
        names = [CaseName(case_set.name, case.id) for case in cases]
        known = await self.results.read(latest.project, latest.id, names)
        results = [result for name, kept in known.items() if (result := kept.result(name.case_set, name.case))]
        repeats = repeats_of(results, {(case_set.name, case.id): case.asked for case in cases})
        return averages(repeats, methodcaller("difference", requirement.metric))

    async def _confidence(self, gate: Gate, case_set: CaseSet, baseline: str) -> float:
        """Return the confidence at which the next candidate is judged."""
        if gate.collection or not baseline:
            return gate.confidence
        level = SpentLevel.on(gate.project, baseline=baseline, case_set=case_set.name)
        try:
            spent = await self.levels.get(gate.project, level.id)
        except NotFound:
            return gate.confidence
        return corrected_confidence(gate.confidence, spent.count + 1)


def _judged_on(requirement: Requirement, latest: Evaluation | None) -> CaseSet | None:
    """Return the set on which the last candidate was judged by a requirement."""
    for each in latest.case_sets if latest else ():
        if each.suite == requirement.suite if requirement.suite else each.dataset == requirement.dataset:
            return each
    return None


def _missing(requirement: Requirement) -> str:
    if requirement.suite:
        return f"suite {requirement.suite} does not exist yet"
    return f"how many held-out cases {requirement.dataset} has is known once a candidate was evaluated"
