"""Use cases: create, get, list, update and delete gates."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

from tidemill_core.application import Caller, Page, PageRequest, Request
from tidemill_core.errors import AlreadyExists
from tidemill_evaluator.errors import GateNotFound
from tidemill_evaluator.etags import refuse_changed
from tidemill_evaluator.gates.domain import CandidateGates, Gate
from tidemill_evaluator.gates.ports import GateChanged, Gates, GatesOfCandidates
from tidemill_evaluator.suites.domain.limits import Limits

CHANGEABLE = frozenset({"labels", "deployment", "candidate", "confidence", "require", "paused"})
_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateGateCommand:
    """Sets `fields` to their values in `gate`; `etag` is the revision that the caller read."""

    gate: Gate
    fields: frozenset[str]
    request: Request
    etag: str = ""
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GateCrud:
    """Gates emit no events. The candidate index is updated before the gate is saved, so that no gate is missed.

    Resuming a gate evaluates the newest candidate registered during the pause.
    """

    gates: Gates
    by_candidate: GatesOfCandidates
    changed: GateChanged
    limits: Limits

    async def get(self, caller: Caller, gate_id: str) -> Gate:
        """Return a gate.

        Raises:
            GateNotFound: there is none.

        """
        return await self.gates.get(caller.project, gate_id)

    async def list(self, caller: Caller, page: PageRequest) -> Page[Gate]:
        """Return a page, oldest first."""
        return await self.gates.list(caller.project, page=page)

    async def requiring(self, caller: Caller, suite: str) -> Sequence[str]:
        """Return the names of the gates that require a suite, by a scan of all gates: projects have few."""
        found, token = list[str](), ""
        while True:
            page = await self.list(caller, PageRequest(size=_PAGE, token=token))
            found += [gate.id for gate in page.items if any(each.suite == suite for each in gate.require)]
            if not (token := page.next_token):
                return found

    async def create(self, gate: Gate, *, request: Request, validate_only: bool = False) -> Gate:
        """Return the new gate; the id of a deleted gate may be reused.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            AlreadyExists: the id is taken.

        """
        gate.check(self.limits)
        if validate_only:
            return await self._preview(gate)
        await self._index(gate)
        return await self.gates.add(gate, request=request)

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
        return await self.changed(gate)

    async def delete(
        self, caller: Caller, gate_id: str, *, etag: str, request: Request, validate_only: bool = False
    ) -> Gate:
        """Return the deleted gate; its evaluations are kept.

        Raises:
            GateNotFound: there is none.
            Conflict: it changed since the etag.

        """

        def change(gate: Gate) -> None:
            refuse_changed(gate, etag)
            gate.deleted = True

        if validate_only:
            preview = await self.gates.get(caller.project, gate_id)
            refuse_changed(preview, etag)
            return preview
        return await self.gates.update(caller.project, gate_id, change, request=request)

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
