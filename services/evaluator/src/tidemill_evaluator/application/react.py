"""Start evaluations because something happened: a candidate is there, or the baseline is another."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from tidemill_evaluator.application.ports import Evaluations, Gates, GatesOfCandidates
from tidemill_evaluator.application.start_evaluation import queued
from tidemill_evaluator.domain.errors import EvaluationNotFound, GateNotFound
from tidemill_evaluator.domain.evaluation import Comparing, Evaluation
from tidemill_evaluator.domain.gate import Gate
from tidemill_kit.application import Request
from tidemill_kit.errors import AlreadyExists, NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A version that was registered."""

    model: str
    version: str
    dataset_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class React:
    """Every effect has an id that derives from its cause: however often it is told, one evaluation starts."""

    evaluations: Evaluations
    gates: Gates
    by_candidate: GatesOfCandidates
    attempts: int
    wake: Callable[[], None]

    async def candidate_registered(self, project: str, candidate: Candidate) -> None:
        """Queue one evaluation for each gate that asks for the model and is not paused."""
        for gate in await self._gates_of(project, candidate.model):
            comparing = _comparing(gate, candidate.version)
            origin = f"{gate.id}/{candidate.version}"
            await self._add(queued(project, comparing, origin=origin, dataset_version=candidate.dataset_version))

    async def baseline_changed(self, project: str, evaluation_id: str) -> None:
        """Queue the next attempt of an evaluation that compared with what is live no longer."""
        try:
            await self.again(await self.evaluations.get(project, evaluation_id))
        except EvaluationNotFound:
            return  # not one of ours: nothing to repeat

    async def again(self, evaluation: Evaluation) -> bool:
        """Queue the next attempt, and return whether there is one; a gate is asked as it is now."""
        if evaluation.attempt >= self.attempts:
            return False
        comparing: Comparing = replace(evaluation.comparing)
        if evaluation.gate:
            try:
                gate = await self.gates.get(evaluation.project, evaluation.gate)
            except GateNotFound:
                return False
            if gate.paused:
                return False
            comparing = _comparing(gate, evaluation.candidate)
        await self._add(
            queued(
                evaluation.project,
                comparing,
                origin=evaluation.origin,
                attempt=evaluation.attempt + 1,
                dataset_version=evaluation.dataset_version,
            )
        )
        return True

    async def _gates_of(self, project: str, model: str) -> list[Gate]:
        try:
            named = (await self.by_candidate.get(project, model)).gates
        except NotFound:
            return []
        found = await self.gates.get_many(project, sorted(named))
        return [gate for gate in found.values() if gate.candidate == model and not gate.paused]

    async def _add(self, evaluation: Evaluation) -> None:
        try:
            await self.evaluations.add(evaluation, request=Request(id=evaluation.id, digest=evaluation.id))
        except AlreadyExists:
            return  # it was told before
        self.wake()


def _comparing(gate: Gate, candidate: str) -> Comparing:
    return Comparing(
        gate=gate.id,
        deployment=gate.deployment,
        candidate=candidate,
        require=gate.require,
        confidence=gate.confidence,
    )
