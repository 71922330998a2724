"""Stored form of retrieval evaluations, and the unfinished ones."""

from tidemill_evaluator.evaluations.domain.job import UNFINISHED
from tidemill_evaluator.retrieval_evaluations.domain.retrieval_evaluation import RetrievalEvaluation
from tidemill_evaluator.retrieval_evaluations.messages import event_message
from tidemill_kit.mapping import DocumentCodec
from tidemill_kit.store.mongo import Collection
from tidemill_kit.workers.pending import PendingDocuments

RETRIEVAL_EVALUATIONS = DocumentCodec(RetrievalEvaluation, event=event_message)


def unfinished_retrieval_evaluations(evaluations: Collection) -> PendingDocuments:
    """Find the retrieval evaluations that are not finished."""
    return PendingDocuments(
        evaluations,
        {"state.state": {"$in": sorted(state.value for state in UNFINISHED)}, "deleted": False},
        index="state.state",
    )
