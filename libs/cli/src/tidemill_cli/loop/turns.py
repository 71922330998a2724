"""Status, pause and resume of applied loops, which are found by their label."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from tidemill.inference.v1.deployment_pb2 import Deployment
from tidemill.ingest.v1.dataset_pb2 import Dataset, DatasetVersion
from tidemill_cli.loop.desired import OWNER_LABEL
from tidemill_cli.loop.kinds import KINDS
from tidemill_cli.loop.stages import (
    Stage,
    dataset_stage,
    evaluation_stage,
    examples_stage,
    rollout_stage,
    training_stage,
    unknown_stage,
)
from tidemill_cli.loop.sweep_stages import sweep_stage
from tidemill_client.connection import Connection, NoAddress
from tidemill_client.datasets import Datasets
from tidemill_client.declared import Deployments
from tidemill_client.evaluations import ENDED as EVALUATED
from tidemill_client.evaluations import Evaluations
from tidemill_client.sweeps import Sweeps
from tidemill_client.training import ENDED as TRAINED
from tidemill_client.training import Training
from tidemill_core.errors import DeadlineExceeded, DependencyUnavailable, NotFound

if TYPE_CHECKING:
    from tidemill.evaluator.v1.evaluation_pb2 import Evaluation, Gate
    from tidemill.feedback.v1.curation_pb2 import Curation
    from tidemill.trainer.v1.training_pb2 import TrainingPlan, TrainingRun

PAUSABLE = ("curation", "training", "gate")
"""Kinds with a field `paused`; for rollouts it is the deployment's `rollouts_paused`."""
T = TypeVar("T")


class LoopNotFound(NotFound):
    """No resource of the project has the label of this loop."""

    reason = "LOOP_NOT_FOUND"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningLoop:
    """A loop, with the (kind, name) of its resources and of the paused ones."""

    name: str
    parts: Sequence[tuple[str, str]]
    paused: Sequence[tuple[str, str]]


class Loops:
    """The applied loops of a project."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def all(self) -> list[RunningLoop]:
        """Return the project's loops by name. Raises if a service does not respond: the result would be incomplete."""
        found = await asyncio.gather(*(self._every(kind) for kind in KINDS))
        parts: dict[str, list[tuple[str, str]]] = {}
        paused: dict[str, list[tuple[str, str]]] = {}
        for kind, messages in zip(KINDS, found, strict=True):
            for message in messages:
                loop = message.labels.get(OWNER_LABEL, "")
                parts.setdefault(loop, []).append((kind, message.id))
                if kind in PAUSABLE and message.paused:
                    paused.setdefault(loop, []).append((kind, message.id))
                if kind == "deployment" and message.rollouts_paused:
                    paused.setdefault(loop, []).append(("rollout", message.id))
        return [
            RunningLoop(name=name, parts=parts[name], paused=paused.get(name, [])) for name in sorted(parts) if name
        ]

    async def status(self, loop: str) -> list[Stage]:
        """Return the stages of a loop in order; a stage whose service does not respond is `unknown`.

        Raises:
            LoopNotFound: no resource has its label.

        """
        stages = await asyncio.gather(
            _answered("examples", self._examples(loop)),
            _answered("dataset", self._datasets(loop)),
            _answered("training", self._training(loop)),
            _answered("evaluation", self._evaluations(loop)),
            _answered("rollout", self._rollouts(loop)),
        )
        found = [stage for several in stages for stage in several]
        if not found:
            names = [running.name for running in await self.all()]
            if loop not in names:
                message = f"loop {loop} not found in this project (existing: {', '.join(names) or 'none'})"
                raise LoopNotFound(message, loop=loop)
        return found

    async def pause(self, loop: str, *, paused: bool) -> list[tuple[str, str]]:
        """Pause or resume a loop's resources, and return those that changed.

        Work in progress finishes; nothing new starts, and no rollout advances.

        Raises:
            LoopNotFound: the loop has no resource that can be paused.

        """
        changed = []
        found = 0
        for kind in PAUSABLE:
            for message in await self._owned(kind, loop):
                found += 1
                if message.paused != paused:
                    requested = type(message)(id=message.id, paused=paused)
                    await KINDS[kind](self._connection).update(requested, "paused")
                    changed.append((kind, message.id))
        for deployment in await self._owned("deployment", loop):
            if deployment.HasField("rollout_policy"):
                found += 1
                if deployment.rollouts_paused != paused:
                    requested = Deployment(id=deployment.id, rollouts_paused=paused)
                    await Deployments(self._connection).update(requested, "rollouts_paused")
                    changed.append(("rollout", deployment.id))
        if not found:
            message = f"loop {loop} not found, or has nothing to pause: see `tidemill loop list`"
            raise LoopNotFound(message, loop=loop)
        return changed

    async def _every(self, kind: str) -> list[Any]:
        return [message async for message in KINDS[kind](self._connection).all()]

    async def _owned(self, kind: str, loop: str) -> list[Any]:
        return [message for message in await self._every(kind) if message.labels.get(OWNER_LABEL) == loop]

    async def _examples(self, loop: str) -> list[Stage]:
        curations: list[Curation] = await self._owned("curation", loop)
        return [examples_stage(curation) for curation in curations]

    async def _datasets(self, loop: str) -> list[Stage]:
        datasets: list[Dataset] = await self._owned("dataset", loop)
        return [await self._dataset(dataset) for dataset in datasets]

    async def _dataset(self, dataset: Dataset) -> Stage:
        newest: DatasetVersion | None = None
        if dataset.latest_version:
            newest = await Datasets(self._connection).version(f"{dataset.id}@{dataset.latest_version}")
        return dataset_stage(dataset, newest)

    async def _training(self, loop: str) -> list[Stage]:
        plans: list[TrainingPlan] = await self._owned("training", loop)
        return [await self._training_of(plan) for plan in plans]

    async def _training_of(self, plan: "TrainingPlan") -> Stage:
        run = await _current(self._runs(plan.id), TRAINED)
        if not plan.HasField("sweep"):
            return training_stage(plan, run)
        return sweep_stage(plan, await Sweeps(self._connection).newest(plan.id), run)

    def _runs(self, plan: str) -> "AsyncIterator[TrainingRun]":
        """Return the runs of a plan that are no trials of a sweep."""
        return Training(self._connection).runs(plan=plan, exclude_trials=True)

    async def _evaluations(self, loop: str) -> list[Stage]:
        gates: list[Gate] = await self._owned("gate", loop)
        evaluations = Evaluations(self._connection)
        stages = []
        for gate in gates:
            candidate, again = await _of_gate(evaluations.all(gate=gate.id))
            stages.append(evaluation_stage(gate, await evaluations.get(candidate.id) if candidate else None))
            if again and gate.HasField("reevaluate"):
                stages.append(evaluation_stage(gate, await evaluations.get(again.id)))
        return stages

    async def _rollouts(self, loop: str) -> list[Stage]:
        deployments: list[Deployment] = await self._owned("deployment", loop)
        return [rollout_stage(deployment) for deployment in deployments if deployment.HasField("rollout_policy")]


async def _answered(stage: str, work: Awaitable[list[Stage]]) -> list[Stage]:
    """Return the stages, or an `unknown` stage if the service does not respond."""
    try:
        return await work
    except (DependencyUnavailable, DeadlineExceeded, NoAddress) as error:
        return [unknown_stage(stage, error.message)]


async def _of_gate(listed: "AsyncIterator[Evaluation]") -> "tuple[Evaluation | None, Evaluation | None]":
    """Return the oldest evaluation of a candidate that has not ended, else the newest; and the newest re-evaluation."""
    candidate: Evaluation | None = None
    again: Evaluation | None = None
    async for each in listed:
        if each.reevaluates:
            again = each
        elif candidate is None or candidate.state in EVALUATED:
            candidate = each
    return candidate, again


async def _current(items: AsyncIterator[T], ended: Collection[int]) -> T | None:
    """Return the oldest item that has not ended, else the newest."""
    newest: T | None = None
    async for item in items:
        newest = item
        if getattr(item, "state", None) not in ended:
            break
    return newest
