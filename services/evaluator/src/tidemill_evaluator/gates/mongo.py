"""Stored forms of gates and of the candidate index, and gates whose evaluation is deferred. None emits events."""

from dataclasses import asdict

from google.protobuf.message import Message

from tidemill_core.aggregate import Aggregate, Event
from tidemill_core.application import ResourceKey
from tidemill_evaluator.gates.domain import CandidateGates, DeferredEvaluation, Gate, Requirement
from tidemill_kit.store.aggregates import Identity
from tidemill_kit.store.mongo import Collection, Document
from tidemill_kit.workers.pending import PendingDocuments


class GateCodec:
    """Gate <-> state."""

    schema = 1

    def encode(self, aggregate: Gate) -> Document:
        """See `Codec.encode`."""
        return {
            "deployment": aggregate.deployment,
            "candidate": aggregate.candidate,
            "confidence": aggregate.confidence,
            "require": [asdict(requirement) for requirement in aggregate.require],
            "paused": aggregate.paused,
            "owed": asdict(aggregate.deferred_evaluation) if aggregate.deferred_evaluation else None,
        }

    def decode(self, identity: Identity, state: Document, schema: int) -> Gate:  # noqa: ARG002 - one so far
        """See `Codec.decode`."""
        require = tuple(Requirement(**each) for each in state["require"])
        deferred_evaluation = DeferredEvaluation(**state["owed"]) if state["owed"] else None
        rest = {name: value for name, value in state.items() if name != "owed"} | {"require": require}
        return Gate(**identity.fields(), **rest, deferred_evaluation=deferred_evaluation)

    def event(self, aggregate: Gate, event: Event, seq: int) -> tuple[str, Message]:
        """See `Codec.event`."""
        return _no_event(aggregate, event, seq)


class CandidateGatesCodec:
    """CandidateGates <-> state."""

    schema = 1

    def encode(self, aggregate: CandidateGates) -> Document:
        """See `Codec.encode`."""
        return {"gates": sorted(aggregate.gates)}

    def decode(self, identity: Identity, state: Document, schema: int) -> CandidateGates:  # noqa: ARG002 - one so far
        """See `Codec.decode`."""
        return CandidateGates(**identity.fields(), gates=set(state["gates"]))

    def event(self, aggregate: CandidateGates, event: Event, seq: int) -> tuple[str, Message]:
        """See `Codec.event`."""
        return _no_event(aggregate, event, seq)


def _no_event(aggregate: Aggregate, event: Event, seq: int) -> tuple[str, Message]:
    message = f"{type(aggregate).__name__} emits no events, and was given {type(event).__name__} {seq}"
    raise TypeError(message)


def deferring_gates(gates: Collection) -> PendingDocuments[ResourceKey]:
    """Find the gates that are not paused and whose evaluation is deferred still."""
    return PendingDocuments(
        gates,
        {"state.owed.candidate": {"$exists": True}, "state.paused": False, "deleted": False},
        index="state.owed.candidate",
        key=lambda project, gate: ResourceKey(project=project, id=gate),
        sparse=True,
    )
