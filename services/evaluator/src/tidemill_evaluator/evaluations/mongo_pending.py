"""What the controllers have to do, found in evaluations and gates themselves."""

from tidemill_evaluator.evaluations.domain.evaluation import UNFINISHED
from tidemill_evaluator.evaluations.ports import EvaluationName, GateName
from tidemill_kit.store.mongo import Collection
from tidemill_kit.workers.pending import PendingDocuments


def unfinished_evaluations(evaluations: Collection) -> PendingDocuments[EvaluationName]:
    """Find the evaluations that are not finished."""
    return PendingDocuments(
        evaluations,
        {"state.state": {"$in": sorted(state.value for state in UNFINISHED)}, "deleted": False},
        index="state.state",
        key=lambda project, evaluation: EvaluationName(project=project, evaluation=evaluation),
    )


def deferring_gates(gates: Collection) -> PendingDocuments[GateName]:
    """Find the gates that are not paused and whose evaluation is deferred still."""
    return PendingDocuments(
        gates,
        {"state.owed.candidate": {"$exists": True}, "state.paused": False, "deleted": False},
        index="state.owed.candidate",
        key=lambda project, gate: GateName(project=project, gate=gate),
        sparse=True,
    )
