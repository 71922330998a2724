"""Use case: have what is live evaluated again once the provider of its model answers as another model."""

from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from tidemill_core.application import Caller, Clock, Request, ResourceKey
from tidemill_core.errors import NotFound
from tidemill_core.resources import list_all
from tidemill_evaluator.errors import GateNotFound
from tidemill_evaluator.evaluations.ports import Enqueue, Inference
from tidemill_evaluator.gates.domain.gate import Gate
from tidemill_evaluator.gates.ports import Gates
from tidemill_evaluator.suites.domain.names import name_of

JudgingModels = Callable[[Caller, Collection[str]], Awaitable[Collection[str]]]
"""Returns the models, `model@version`, of the judges among these metrics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReevaluateAfterProviderChange:
    """Sets when gates are due; `QueueReevaluation` does the rest, as for times of a schedule.

    Of a gate one begins `min_interval` after the one before at the earliest, however often its provider changes.
    """

    gates: Gates
    inference: Inference
    judging: JudgingModels
    enqueue: Enqueue
    """Called with a gate that is due."""
    min_interval: timedelta
    clock: Clock

    async def __call__(self, caller: Caller, model: str, *, request: Request) -> None:
        """Have each gate be due that asks for it and in whose deployment this `model@version` is live, or judges.

        Gates whose candidate it is remember it until it is live. An evaluation checks whether its judges have drifted.

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
            if live[gate.deployment] == model or model in await self._judges_of(caller, gate):
                await self._update(gate, lambda each: each.change_of_provider(now, self.min_interval), request)
            elif gate.candidate == name_of(model):
                await self._update(gate, lambda each: each.change_of_candidate(model), Request.internal(), due=False)
                if await self._live(caller, gate.deployment) == model:  # promoted before that was saved
                    await self._candidate_is_live(gate, model, request)

    async def promoted(self, caller: Caller, deployment: str, model: str, *, request: Request) -> None:
        """Have each gate of the deployment be due for whose candidate a change came before this promotion."""
        gates = list_all(self.gates, caller.project, where={"deployment": deployment})
        for gate in [each async for each in gates if model and each.changed_candidate == model]:
            await self._candidate_is_live(gate, model, request)

    async def _candidate_is_live(self, gate: Gate, model: str, request: Request) -> None:
        now = self.clock.now()
        await self._update(gate, lambda each: each.changed_candidate_is_live(model, now, self.min_interval), request)

    async def _update(self, gate: Gate, change: Callable[[Gate], None], request: Request, *, due: bool = True) -> None:
        with suppress(GateNotFound):  # deleted meanwhile
            await self.gates.update(gate.project, gate.id, change, request=request)
            if due:
                self.enqueue(ResourceKey(project=gate.project, id=gate.id))

    async def _judges_of(self, caller: Caller, gate: Gate) -> Collection[str]:
        return await self.judging(caller, [each.metric for each in gate.require])

    async def _live(self, caller: Caller, deployment: str) -> str:
        try:
            return (await self.inference.live(caller, deployment)).model
        except NotFound:
            return ""
