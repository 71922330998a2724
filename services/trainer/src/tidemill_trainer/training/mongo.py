"""Stored forms and events of plans and runs, and those that have something to do."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import cast

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from tidemill.trainer.v1 import events_pb2 as events
from tidemill_core.aggregate import Event, ObjectRef
from tidemill_core.application import ResourceKey
from tidemill_kit.store.aggregates import Identity
from tidemill_kit.store.mongo import Collection, Document
from tidemill_kit.workers.pending import PendingDocuments
from tidemill_trainer.training.domain.fit import Choice, ExampleCounts, Fit
from tidemill_trainer.training.domain.losses import LossPoint
from tidemill_trainer.training.domain.plan import DatasetVersion, PlanSettings, RunLimits, TrainingPlan
from tidemill_trainer.training.domain.recipe import Recipe, Value
from tidemill_trainer.training.domain.run import (
    IN_WORK,
    Progress,
    RunHasFailed,
    RunHasSucceeded,
    RunState,
    RunWasQueued,
    TrainingRun,
)
from tidemill_trainer.training.messages import examples_message, fit_message


class TrainingRunCodec:
    """TrainingRun <-> document, and its events -> messages. Times have MongoDB's precision (milliseconds)."""

    schema = 1

    def encode(self, aggregate: TrainingRun) -> Document:
        """Return the state."""
        progress = aggregate.progress
        recipe = aggregate.recipe
        return {
            "plan": aggregate.plan,
            "dataset": encoded_version(aggregate.dataset),
            "base": aggregate.base,
            "recipe": {"method": recipe.method, "lora": plain(recipe.lora), "args": plain(recipe.args)},
            "limits": encoded_limits(aggregate.limits),
            "state": aggregate.state.value,
            "progress": asdict(progress) | {"losses": [asdict(point) for point in progress.losses]},
            "reason": aggregate.reason,
            "message": aggregate.message,
            "model_version": aggregate.model_version,
            "versions": [{"name": name, "version": each} for name, each in sorted(aggregate.versions.items())],
            "attempt": aggregate.attempt,
            "epoch": aggregate.epoch,
            "furthest": aggregate.furthest,
            "fruitless": aggregate.fruitless,
            "fit": asdict(aggregate.fit) if aggregate.fit else None,
            "smaller_than": asdict(aggregate.smaller_than) if aggregate.smaller_than else None,
            "shrunk": aggregate.shrunk,
            "examples": asdict(aggregate.examples) if aggregate.examples else None,
            "warnings": list(aggregate.warnings),
            "start_time": aggregate.start_time,
            "finish_time": aggregate.finish_time,
        }

    def decode(self, identity: Identity, state: Document, schema: int) -> TrainingRun:  # noqa: ARG002 - there is one schema
        """Return the run."""
        losses = tuple(LossPoint(**point) for point in state["progress"]["losses"])
        recipe = state["recipe"]
        return TrainingRun(
            **identity.fields(),
            plan=state["plan"],
            dataset=decoded_version(state["dataset"]),
            base=state["base"],
            recipe=Recipe(method=recipe["method"], lora=_values(recipe["lora"]), args=_values(recipe["args"])),
            limits=decoded_limits(state["limits"]),
            state=RunState(state["state"]),
            progress=Progress(**state["progress"] | {"losses": losses}),
            reason=state["reason"],
            message=state["message"],
            model_version=state["model_version"],
            versions={entry["name"]: entry["version"] for entry in state["versions"]},
            attempt=state["attempt"],
            epoch=state["epoch"],
            furthest=state["furthest"],
            fruitless=state["fruitless"],
            fit=_fit(state.get("fit")),
            smaller_than=_choice(state.get("smaller_than")),
            shrunk=state.get("shrunk", False),
            examples=ExampleCounts(**counts) if (counts := state.get("examples")) else None,
            warnings=tuple(state.get("warnings", ())),
            start_time=state["start_time"],
            finish_time=state["finish_time"],
        )

    def event(self, aggregate: TrainingRun, event: Event, seq: int) -> tuple[str, Message]:
        """Return the ce_type and the payload."""
        dataset_version = aggregate.dataset.id
        match event:
            case RunWasQueued():
                return "tidemill.trainer.run.queued.v1", events.TrainingRunQueued(
                    run=aggregate.id,
                    seq=seq,
                    plan=aggregate.plan,
                    dataset_version=dataset_version,
                    base=aggregate.base,
                )
            case RunHasSucceeded():
                return "tidemill.trainer.run.succeeded.v1", events.TrainingRunSucceeded(
                    run=aggregate.id,
                    seq=seq,
                    plan=aggregate.plan,
                    dataset_version=dataset_version,
                    model_version=event.model_version,
                    time=_duration(event.seconds),
                    loss=event.loss,
                    fit=fit_message(aggregate.fit),
                    examples=examples_message(aggregate.examples),
                )
            case RunHasFailed():
                return "tidemill.trainer.run.failed.v1", events.TrainingRunFailed(
                    run=aggregate.id,
                    seq=seq,
                    plan=aggregate.plan,
                    dataset_version=dataset_version,
                    reason=event.reason,
                    message=event.message,
                )
            case _:
                raise TypeError(event)


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return duration


def _fit(state: Document | None) -> Fit | None:
    return Fit(**state | {"choice": Choice(**state["choice"])}) if state else None


def _choice(state: Document | None) -> Choice | None:
    return Choice(**state) if state else None


def _values(document: Document) -> dict[str, Value]:
    return {name: cast("Value", tuple(each) if isinstance(each, list) else each) for name, each in document.items()}


class TrainingPlanCodec:
    """TrainingPlan <-> document. Plans emit no events; their runs do."""

    schema = 1

    def encode(self, aggregate: TrainingPlan) -> Document:
        """Return the state."""
        settings = aggregate.settings
        return {
            "dataset": settings.dataset,
            "base": settings.base,
            "method": settings.method,
            "lora": plain(settings.lora),
            "args": plain(settings.args),
            "limits": encoded_limits(settings.limits),
            "paused": settings.paused,
            "owed": encoded_version(aggregate.deferred) if aggregate.deferred else None,
        }

    def decode(self, identity: Identity, state: Document, schema: int) -> TrainingPlan:  # noqa: ARG002 - there is one schema
        """Return the plan."""
        settings = PlanSettings(
            dataset=state["dataset"],
            base=state["base"],
            method=state["method"],
            lora=state["lora"],
            args=state["args"],
            limits=decoded_limits(state["limits"]),
            paused=state["paused"],
            labels=identity.labels,
        )
        deferred = decoded_version(state["owed"]) if state["owed"] else None
        return TrainingPlan(**identity.fields(), settings=settings, deferred=deferred)

    def event(self, aggregate: TrainingPlan, event: Event, seq: int) -> tuple[str, Message]:  # noqa: ARG002 - there are none
        """Always raise: plans have no events."""
        raise TypeError(event)


def plain(settings: Mapping[str, object]) -> Document:
    """Return settings as a document holds them: lists instead of tuples."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}


def encoded_limits(limits: RunLimits) -> Document:
    """Return limits as a document."""
    return {
        "time_s": limits.time.total_seconds(),
        "memory_bytes": limits.memory_bytes,
        "memory_auto": limits.memory_auto,
    }


def decoded_limits(document: Document) -> RunLimits:
    """Return the limits of a document."""
    return RunLimits(
        time=timedelta(seconds=document["time_s"]),
        memory_bytes=document["memory_bytes"],
        memory_auto=document.get("memory_auto", False),
    )


def encoded_version(version: DatasetVersion) -> Document:
    """Return a dataset version as a document."""
    return asdict(version)


def decoded_version(document: Document) -> DatasetVersion:
    """Return the dataset version of a document."""
    return DatasetVersion(id=document["id"], train=ObjectRef(**document["train"]), examples=document["examples"])


def pending_runs(runs: Collection) -> PendingDocuments[ResourceKey]:
    """Find the unfinished runs."""
    where = {"state.state": {"$in": sorted(state.value for state in IN_WORK)}, "deleted": False}
    return PendingDocuments(runs, where, index="state.state", key=_key)


def deferring_plans(plans: Collection) -> PendingDocuments[ResourceKey]:
    """Find the unpaused plans that still have a deferred run, because the process that resumed them crashed."""
    where = {"state.owed.id": {"$gt": ""}, "state.paused": False, "deleted": False}
    return PendingDocuments(plans, where, index="state.owed.id", key=_key)


def _key(project: str, resource: str) -> ResourceKey:
    return ResourceKey(project=project, id=resource)
