"""Stored form of a training plan."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta

from google.protobuf.message import Message

from tidemill_core.aggregate import Event, ObjectRef
from tidemill_kit.store.aggregates import Identity
from tidemill_kit.store.mongo import Document
from tidemill_trainer.domain.training_plan import DatasetVersion, PlanSettings, RunLimits, TrainingPlan


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
