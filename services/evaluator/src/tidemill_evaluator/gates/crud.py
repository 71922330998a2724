"""Use cases: create, get, list, update and delete gates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from tidemill_core import resources
from tidemill_core.application import Caller, Clock, Page, PageRequest
from tidemill_core.resources import Write, copy_fields, fields_of
from tidemill_evaluator.gates.domain.gate import Gate, Requirement, RetrievalRequirement
from tidemill_evaluator.gates.ports import GateChanged, Gates
from tidemill_evaluator.metrics.registry import Registry
from tidemill_evaluator.suites.domain.limits import Limits

CHANGEABLE: Final = fields_of(Gate) - {
    "deferred_evaluation",
    "reevaluation_due",
    "last_reevaluation",
    "last_reevaluation_time",
    "provider_changed",
    "changed_candidate",
}


def _required(gate: Gate) -> tuple[Requirement | RetrievalRequirement, ...]:
    return (*gate.require, gate.retrieval) if gate.retrieval else gate.require


@dataclass(frozen=True, slots=True, kw_only=True)
class GateCrud:
    """Gates emit no events. Resuming a gate evaluates the newest candidate registered during the pause."""

    gates: Gates
    changed: GateChanged
    metrics: Registry
    limits: Limits
    clock: Clock

    async def get(self, caller: Caller, gate_id: str) -> Gate:
        """Return a gate."""
        return await self.gates.get(caller.project, gate_id)

    async def list(self, caller: Caller, page: PageRequest) -> Page[Gate]:
        """Return a page."""
        return await self.gates.list(caller.project, page=page)

    async def requiring(self, caller: Caller, suite: str) -> Sequence[str]:
        """Return the names of the gates that require a suite, by a scan of all gates: projects have few."""
        gates = resources.list_all(self.gates, caller.project)
        return [gate.id async for gate in gates if suite in {each.suite for each in _required(gate)}]

    async def measuring(self, caller: Caller, metric: str) -> Sequence[str]:
        """Return the names of the gates that require a metric of answers, by a scan as `requiring`."""
        gates = resources.list_all(self.gates, caller.project)
        return [gate.id async for gate in gates if metric in {each.metric for each in gate.require}]

    async def create(self, caller: Caller, gate: Gate, write: Write) -> Gate:
        """Return the new gate; the id of a deleted gate may be reused.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            AlreadyExists: the id is taken.
            PreconditionFailed: the project cannot use a metric.

        """
        gate.check(self.limits, self.metrics)
        gate.check_datasets()
        await self.metrics.check(caller, [each.metric for each in gate.require], gating=True)
        created = replace(gate, project=caller.project)
        created.schedule(self.clock.now())
        return await resources.create(self.gates, created, write)

    async def update(self, caller: Caller, given: Gate, paths: frozenset[str], write: Write) -> Gate:
        """Return the updated gate; evaluations in progress keep their settings.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            GateNotFound: there is none.
            Conflict: it changed since the etag.
            PreconditionFailed: the project cannot use a metric that is newly required.

        """
        if "require" in paths:
            stored = await self.gates.get(caller.project, given.id)
            had = {each.metric for each in stored.require}
            new = [each.metric for each in given.require if each.metric not in had and self.metrics.find(each.metric)]
            await self.metrics.check(caller, new, gating=True)

        now = self.clock.now()

        def change(gate: Gate) -> None:
            copy_fields(given, gate, paths)
            gate.check(self.limits, self.metrics)
            if "require" in paths:
                gate.check_datasets()
            gate.schedule(now)

        gate = await resources.update(self.gates, caller.project, given.id, change, write)
        return gate if write.validate_only else await self.changed(gate)

    async def delete(self, caller: Caller, gate_id: str, write: Write) -> Gate:
        """Return the deleted gate; its evaluations are kept.

        Raises:
            GateNotFound: there is none.
            Conflict: it changed since the etag.

        """
        return await resources.delete(self.gates, caller.project, gate_id, write)
