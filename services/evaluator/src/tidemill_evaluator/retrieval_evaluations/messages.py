"""Mapping of retrieval evaluations to their messages and events."""

import json

from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from tidemill.evaluator.v1 import events_pb2 as events
from tidemill.evaluator.v1 import retrieval_evaluation_pb2 as pb
from tidemill_core.aggregate import Event
from tidemill_evaluator.retrieval_evaluations.domain.results import RankedDocuments
from tidemill_evaluator.retrieval_evaluations.domain.retrieval_evaluation import (
    Figures,
    RetrievalEvaluation,
    RetrievalEvaluationHasCompleted,
    RetrievalEvaluationHasFailed,
    RetrievalEvaluationHasStarted,
    RetrievalSide,
)
from tidemill_evaluator.retrieval_evaluations.list_retrieval_results import ShownResult
from tidemill_kit.mapping import from_struct, to_message

_EVENTS: dict[type[Event], tuple[str, type[Message]]] = {
    RetrievalEvaluationHasStarted: (
        "tidemill.evaluator.retrieval_evaluation.started.v1",
        events.RetrievalEvaluationStarted,
    ),
    RetrievalEvaluationHasCompleted: (
        "tidemill.evaluator.retrieval_evaluation.completed.v1",
        events.RetrievalEvaluationCompleted,
    ),
    RetrievalEvaluationHasFailed: (
        "tidemill.evaluator.retrieval_evaluation.failed.v1",
        events.RetrievalEvaluationFailed,
    ),
}
_NO_FIGURES = Figures(measures=())


def side_of(message: pb.RetrievalSide, field: str) -> RetrievalSide:
    """Return the side of a request; `field` is its path.

    Raises:
        InvalidInput: its settings contain NaN or Infinity.

    """
    settings = ""
    if message.HasField("settings"):
        values = from_struct(message.settings, field=f"{field}.settings")
        settings = json.dumps(values, sort_keys=True)
    return RetrievalSide(index=message.index, settings=settings)


def evaluation_message(evaluation: RetrievalEvaluation) -> pb.RetrievalEvaluation:
    """Return the evaluation message."""
    pinned, searching = evaluation.pinned, evaluation.searching
    candidate = pinned.candidate if pinned else searching.candidate
    return to_message(
        pb.RetrievalEvaluation,
        evaluation,
        searching,
        evaluation.figures or _NO_FIGURES,
        suite_version=pinned.case_set.number if pinned else 0,
        baseline=_side_message(pinned.baseline if pinned else searching.baseline),
        candidate=_side_message(candidate) if candidate else None,
    )


def result_message(shown: ShownResult) -> pb.RetrievalResult:
    """Return the message of a result."""
    candidate = shown.result.candidate
    return to_message(
        pb.RetrievalResult,
        shown,
        shown.result,
        baseline=_ranked_message(shown.result.baseline),
        candidate=_ranked_message(candidate) if candidate else None,
    )


def event_message(evaluation: RetrievalEvaluation, event: Event, seq: int) -> tuple[str, Message]:
    """Return the ce_type and the payload of an event."""
    ce_type, message_class = _EVENTS[type(event)]
    pinned = evaluation.pinned
    return ce_type, to_message(
        message_class,
        evaluation,
        evaluation.figures or _NO_FIGURES,
        seq=seq,
        evaluation=evaluation.id,
        suite_version=pinned.case_set.number if pinned else 0,
        baseline_index=pinned.baseline.index if pinned else 0,
        candidate_index=pinned.candidate.index if pinned and pinned.candidate else 0,
    )


def _side_message(side: RetrievalSide) -> pb.RetrievalSide:
    settings = ParseDict(json.loads(side.settings), Struct()) if side.settings else None
    return pb.RetrievalSide(index=side.index, settings=settings)


def _ranked_message(side: RankedDocuments) -> pb.RankedDocuments:
    return to_message(pb.RankedDocuments, side)
