"""Use cases: create, update and delete gates."""

from copy import deepcopy
from dataclasses import dataclass

from tidemill_core.application import Caller, Request
from tidemill_core.errors import AlreadyExists
from tidemill_evaluator.errors import GateNotFound
from tidemill_evaluator.etags import refuse_changed
from tidemill_evaluator.evaluations.ports import Gates, GatesOfCandidates
from tidemill_evaluator.evaluations.triggers import EvaluationTriggers
from tidemill_evaluator.gates.domain import CandidateGates, Gate
from tidemill_evaluator.suites.domain.limits import Limits

CHANGEABLE = frozenset({"labels", "deployment", "candidate", "confidence", "require", "paused"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateGateCommand:
    """The requested gate."""

    gate: Gate
    request: Request
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateGateCommand:
    """Sets `fields` to their values in `gate`; `etag` is the revision that the caller read."""

    gate: Gate
    fields: frozenset[str]
    request: Request
    etag: str = ""
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteGateCommand:
    """`etag` is the revision that the caller read."""

    gate: str
    request: Request
    etag: str = ""
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeGates:
    """Gates emit no events. The candidate index is updated before the gate is saved, so that no gate is missed.

    Resuming a gate evaluates the newest candidate registered during the pause.
    """

    gates: Gates
    by_candidate: GatesOfCandidates
    triggers: EvaluationTriggers
    limits: Limits

    async def create(self, command: CreateGateCommand) -> Gate:
        """Return the new gate; the id of a deleted gate may be reused.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            AlreadyExists: the id is taken.

        """
        gate = command.gate
        gate.check(self.limits)
        if command.validate_only:
            return await self._preview(gate)
        await self._index(gate)
        return await self.gates.add(gate, request=command.request)

    async def update(self, command: UpdateGateCommand) -> Gate:
        """Return the updated gate; evaluations in progress keep their settings.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            GateNotFound: there is none.
            Conflict: it changed since the etag.

        """
        given = command.gate

        def change(gate: Gate) -> None:
            refuse_changed(gate, command.etag)
            for name in command.fields:
                setattr(gate, name, getattr(given, name))
            gate.check(self.limits)

        preview = await self.gates.get(given.project, given.id)
        if command.validate_only:
            change(preview)
            return preview
        for name in command.fields:
            setattr(preview, name, getattr(given, name))
        preview.check(self.limits)
        await self._index(preview)
        gate = await self.gates.update(given.project, given.id, change, request=command.request)
        return await self.triggers.gate_changed(gate)

    async def delete(self, caller: Caller, command: DeleteGateCommand) -> Gate:
        """Return the deleted gate; its evaluations are kept.

        Raises:
            GateNotFound: there is none.
            Conflict: it changed since the etag.

        """

        def change(gate: Gate) -> None:
            refuse_changed(gate, command.etag)
            gate.deleted = True

        if command.validate_only:
            preview = await self.gates.get(caller.project, command.gate)
            refuse_changed(preview, command.etag)
            return preview
        return await self.gates.update(caller.project, command.gate, change, request=command.request)

    async def _index(self, gate: Gate) -> None:
        """Add the gate to the candidate index; stale entries are filtered on read."""
        fresh = CandidateGates(id=gate.candidate, project=gate.project)
        await self.by_candidate.upsert(fresh, lambda each: each.gates.add(gate.id), request=Request.internal())

    async def _preview(self, gate: Gate) -> Gate:
        try:
            await self.gates.get(gate.project, gate.id)
        except GateNotFound:
            return deepcopy(gate)
        message = f"{gate.id} already exists: choose another id"
        raise AlreadyExists(message, id=gate.id)
