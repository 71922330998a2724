"""Starts evaluations triggered by events: a candidate was registered or is ready, or the baseline changed."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from tidemill_core.application import Caller, Request, ResourceKey
from tidemill_core.errors import AlreadyExists
from tidemill_core.resources import list_all
from tidemill_evaluator.errors import EvaluationNotFound, GateNotFound
from tidemill_evaluator.evaluations.domain.evaluation import Comparing, Evaluation
from tidemill_evaluator.evaluations.ports import Enqueue, Evaluations
from tidemill_evaluator.gates.domain.deferred_evaluation import DeferredEvaluation
from tidemill_evaluator.gates.domain.gate import Gate
from tidemill_evaluator.gates.ports import Gates
from tidemill_evaluator.suites.domain.names import name_of


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationTriggers:
    """Ids of evaluations derive from their cause, so a redelivered event starts none twice."""

    evaluations: Evaluations
    gates: Gates
    attempts: int
    enqueue: Enqueue

    async def candidate_registered(self, caller: Caller, version: str, *, dataset_version: str = "") -> None:
        """Queue an evaluation of a model version for each gate of the model; a paused gate defers it."""
        deferred = DeferredEvaluation(candidate=version, origin=version, dataset_version=dataset_version)
        await self._ask_gates(caller, {"candidate": name_of(version)}, deferred)

    async def index_became_ready(self, caller: Caller, collection: str, index: int) -> None:
        """Queue an evaluation of an index version for each gate of the collection; a paused gate defers it."""
        candidate = f"{collection}@{index}"
        deferred = DeferredEvaluation(candidate=candidate, origin=f"index:{candidate}")
        await self._ask_gates(caller, {"collection": collection}, deferred)

    async def prompt_version_created(self, caller: Caller, prompt: str, version: int, *, digest: str = "") -> None:
        """Queue an evaluation of a prompt's version for each gate of the prompt; a paused gate defers it.

        The digest of its content distinguishes it from the version of a deleted prompt that had its name and number.
        """
        candidate = f"{prompt}@{version}"
        deferred = DeferredEvaluation(candidate=candidate, origin=f"prompt:{candidate}:{digest}")
        await self._ask_gates(caller, {"candidate_prompt": prompt}, deferred)

    async def start_deferred(self, caller: Caller, gate_id: str) -> None:
        """Queue the deferred evaluation of a gate that was resumed by a process that crashed."""
        try:
            await self.gate_changed(await self.gates.get(caller.project, gate_id))
        except GateNotFound:
            return  # deleted meanwhile

    async def gate_changed(self, gate: Gate) -> Gate:
        """Queue the gate's deferred evaluation unless it is paused; return the updated gate."""
        deferred_evaluation = gate.deferred_evaluation
        if deferred_evaluation is None or deferred_evaluation.after_rollout or gate.paused:
            return gate
        if name_of(deferred_evaluation.candidate) == gate.follows:
            await self._queue(gate, deferred_evaluation)
        try:
            return await self._change(gate, lambda each: each.finish(deferred_evaluation))
        except GateNotFound:
            return gate  # deleted meanwhile

    async def baseline_changed(self, caller: Caller, evaluation_id: str) -> None:
        """Queue the next attempt of an evaluation whose baseline is not live any more."""
        try:
            await self.again(caller, await self.evaluations.get(caller.project, evaluation_id))
        except EvaluationNotFound:
            return  # not an evaluation of this service

    async def rollout_was_active(self, caller: Caller, evaluation_id: str) -> None:
        """Defer the next attempt of an evaluation that passed during another rollout until that has ended."""
        try:
            evaluation = await self.evaluations.get(caller.project, evaluation_id)
            gate = await self.gates.get(caller.project, evaluation.gate)
        except (EvaluationNotFound, GateNotFound):
            return  # not one of this service, by hand, or deleted meanwhile
        if evaluation.attempt < self.attempts:
            following = _following(evaluation)
            with suppress(GateNotFound):
                await self._change(gate, lambda each: each.defer_until_rollout_ends(following))

    async def rollout_ended(self, caller: Caller, deployment: str) -> None:
        """Queue what the deployment's gates deferred until its rollout has ended; a paused gate goes on deferring."""
        gates = list_all(self.gates, caller.project, where={"deployment": deployment})
        for gate in [each async for each in gates]:
            if gate.deferred_evaluation and gate.deferred_evaluation.after_rollout:
                with suppress(GateNotFound):  # deleted meanwhile
                    await self.gate_changed(await self._change(gate, Gate.rollout_ended))

    async def again(self, caller: Caller, evaluation: Evaluation) -> bool:
        """Queue the next attempt; return whether there is one.

        The current gate applies; a paused gate defers the attempt.
        """
        if evaluation.attempt >= self.attempts or evaluation.comparing.reevaluates:
            return False  # what is live is evaluated again at its next time
        following = _following(evaluation)
        if not evaluation.gate:
            await self._add(caller.project, evaluation.comparing, following)
            return True
        try:
            await self._ask(await self.gates.get(caller.project, evaluation.gate), following)
        except GateNotFound:
            return False
        return True

    async def _ask_gates(self, caller: Caller, where: Mapping[str, str], deferred: DeferredEvaluation) -> None:
        """Queue an evaluation for each of these gates, in whose origin the gate is put first."""
        gates = list_all(self.gates, caller.project, where=where)
        for gate in [each async for each in gates]:
            with suppress(GateNotFound):  # deleted meanwhile; continue with the other gates
                await self._ask(gate, replace(deferred, origin=f"{gate.id}/{deferred.origin}"))

    async def _ask(self, gate: Gate, deferred_evaluation: DeferredEvaluation) -> None:
        if gate.paused:
            gate = await self._change(gate, lambda each: each.defer(deferred_evaluation))
        if not gate.paused:  # it may have been resumed meanwhile
            await self._queue(gate, deferred_evaluation)

    async def _queue(self, gate: Gate, deferred_evaluation: DeferredEvaluation) -> None:
        await self._add(gate.project, Comparing.of(gate, deferred_evaluation.candidate), deferred_evaluation)

    async def _change(self, gate: Gate, change: Callable[[Gate], None]) -> Gate:
        return await self.gates.update(gate.project, gate.id, change, request=Request.internal())

    async def _add(self, project: str, comparing: Comparing, deferred_evaluation: DeferredEvaluation) -> None:
        evaluation = Evaluation.queued(
            project,
            comparing,
            origin=deferred_evaluation.origin,
            attempt=deferred_evaluation.attempt,
            dataset_version=deferred_evaluation.dataset_version,
            requester=deferred_evaluation.requester,
        )
        try:
            await self.evaluations.add(evaluation, request=Request(id=evaluation.id, digest=evaluation.id))
        except AlreadyExists:
            return  # redelivered event
        self.enqueue(ResourceKey(project=project, id=evaluation.id))


def _following(evaluation: Evaluation) -> DeferredEvaluation:
    """Return the next attempt."""
    return DeferredEvaluation(
        candidate=evaluation.candidate,
        origin=evaluation.origin,
        attempt=evaluation.attempt + 1,
        dataset_version=evaluation.dataset_version,
        requester=evaluation.requester,
    )
