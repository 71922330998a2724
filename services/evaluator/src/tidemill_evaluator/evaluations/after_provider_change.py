"""Use case: have what is live evaluated again once the provider of its model answers as another model."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from tidemill_core.application import Caller, Clock, Request, ResourceKey
from tidemill_core.errors import NotFound
from tidemill_core.resources import list_all
from tidemill_evaluator.errors import GateNotFound
from tidemill_evaluator.evaluations.ports import Enqueue, Inference
from tidemill_evaluator.gates.ports import Gates


@dataclass(frozen=True, slots=True, kw_only=True)
class ReevaluateAfterProviderChange:
    """Sets when gates are due; `QueueReevaluation` does the rest, as for times of a schedule.

    Of a gate one begins `min_interval` after the one before at the earliest, however often its provider changes.
    """

    gates: Gates
    inference: Inference
    enqueue: Enqueue
    """Called with a gate that is due."""
    min_interval: timedelta
    clock: Clock

    async def __call__(self, caller: Caller, model: str, *, request: Request) -> None:
        """Have each gate be due that asks for it and in whose deployment this `model@version` is live.

        Raises:
            DependencyUnavailable: inference does not answer.

        """
        asking = [
            gate
            async for gate in list_all(self.gates, caller.project)
            if gate.reevaluate and gate.reevaluate.on_provider_change
        ]
        live = {name: await self._live(caller, name) for name in {gate.deployment for gate in asking}}
        now = self.clock.now()
        for gate in asking:
            if live[gate.deployment] != model:
                continue
            with suppress(GateNotFound):  # deleted meanwhile
                await self.gates.update(
                    gate.project, gate.id, lambda each: each.change_of_provider(now, self.min_interval), request=request
                )
                self.enqueue(ResourceKey(project=gate.project, id=gate.id))

    async def _live(self, caller: Caller, deployment: str) -> str:
        try:
            return (await self.inference.live(caller, deployment)).model
        except NotFound:
            return ""
