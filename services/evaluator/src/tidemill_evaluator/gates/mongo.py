"""Stored form of gates, and the gates whose evaluation is deferred."""

from tidemill_core.application import ResourceKey
from tidemill_evaluator.gates.domain import Gate
from tidemill_kit.mapping import DocumentCodec, Form
from tidemill_kit.store.mongo import Collection
from tidemill_kit.workers.pending import PendingDocuments

GATES = DocumentCodec(Gate, {Gate: Form(renames={"deferred_evaluation": "owed"})})


def deferring_gates(gates: Collection) -> PendingDocuments[ResourceKey]:
    """Find the gates that are not paused and whose evaluation is deferred still."""
    return PendingDocuments(
        gates,
        {"state.owed.candidate": {"$exists": True}, "state.paused": False, "deleted": False},
        index="state.owed.candidate",
        key=lambda project, gate: ResourceKey(project=project, id=gate),
        sparse=True,
    )
