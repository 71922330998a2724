"""Stored form of evaluations, and the unfinished ones."""

from collections.abc import Callable
from datetime import datetime

from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.domain.job import UNFINISHED
from tidemill_evaluator.evaluations.messages import event_message
from tidemill_kit.mapping import DocumentCodec
from tidemill_kit.store.mongo import Collection
from tidemill_kit.workers.pending import PendingDocuments

EVALUATIONS = DocumentCodec(Evaluation, event=event_message)
EVALUATION_LISTS = (("gate",), ("candidate",), ("gate", "candidate"), ("gate", "candidate", "verdict"), ("state",))


def unfinished_evaluations(evaluations: Collection) -> PendingDocuments:
    """Find the evaluations that are not finished."""
    return PendingDocuments(
        evaluations,
        {"state.state": {"$in": sorted(state.value for state in UNFINISHED)}, "deleted": False},
        index="state.state",
    )


def deferring_gates(gates: Collection) -> PendingDocuments:
    """Find the gates that are not paused and whose evaluation is deferred still, for no rollout; stored as `owed`."""
    return PendingDocuments(
        gates,
        {
            "state.owed.candidate": {"$exists": True},
            "state.owed.after_rollout": {"$ne": True},
            "state.paused": False,
            "deleted": False,
        },
        index="state.owed.candidate",
        sparse=True,
    )


def due_gates(gates: Collection, now: Callable[[], datetime]) -> PendingDocuments:
    """Find the gates that are not paused and whose re-evaluation is due."""
    return PendingDocuments(
        gates,
        lambda: {"state.reevaluation_due": {"$lte": now()}, "state.paused": False, "deleted": False},
        index="state.reevaluation_due",
        sparse=True,
    )
