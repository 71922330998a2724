"""Use case: count an evaluation that asks the cases of gates."""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from tidemill_core import resources
from tidemill_core.application import Caller, Request
from tidemill_evaluator.errors import GateNotFound
from tidemill_evaluator.gates.ports import Gates


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendLevel:
    """Counts once per cause. A gate of index versions counts nothing: these are built, not chosen by its cases."""

    gates: Gates

    async def of_gate(self, caller: Caller, gate_id: str, *, baseline: str, origin: str) -> int:
        """Return which evaluation on the gate's cases against this baseline it is; 0 for gates that count none."""
        with suppress(GateNotFound):  # deleted meanwhile
            gate = await self.gates.update(
                caller.project, gate_id, lambda gate: gate.spend(baseline, origin), request=Request.internal()
            )
            return gate.ordinal(baseline, origin)
        return 0

    async def by_hand(
        self, caller: Caller, deployment: str, suites: Collection[str], *, baseline: str, origin: str
    ) -> None:
        """Count it at every gate of the deployment that asks one of the suites, by a scan: projects have few gates."""
        async for gate in resources.list_all(self.gates, caller.project):
            if gate.deployment == deployment and any(each.suite in suites for each in gate.require):
                await self.of_gate(caller, gate.id, baseline=baseline, origin=origin)
