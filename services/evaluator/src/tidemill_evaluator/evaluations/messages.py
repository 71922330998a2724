"""Mapping of evaluations to their messages and events."""

from datetime import timedelta

from google.protobuf.message import Message

from tidemill.evaluator.v1 import evaluation_pb2 as pb
from tidemill.evaluator.v1 import events_pb2 as events
from tidemill_core.aggregate import Event
from tidemill_evaluator.evaluations.domain.evaluation import (
    Evaluation,
    EvaluationHasCompleted,
    EvaluationHasFailed,
    EvaluationHasStarted,
)
from tidemill_evaluator.evaluations.list_case_results import Shown
from tidemill_evaluator.suites.messages import turn_message
from tidemill_kit.mapping import to_message

TOPIC = "tidemill.evaluator.evaluation.v1"
_EVENTS: dict[type[Event], tuple[str, type[Message]]] = {
    EvaluationHasStarted: ("tidemill.evaluator.evaluation.started.v1", events.EvaluationStarted),
    EvaluationHasCompleted: ("tidemill.evaluator.evaluation.completed.v1", events.EvaluationCompleted),
    EvaluationHasFailed: ("tidemill.evaluator.evaluation.failed.v1", events.EvaluationFailed),
}


def listed_message(evaluation: Evaluation) -> pb.Evaluation:
    """Return the message of an evaluation in a list: without its slices."""
    found = evaluation_message(evaluation)
    found.ClearField("slices")
    return found


def evaluation_message(evaluation: Evaluation) -> pb.Evaluation:
    """Return the evaluation message."""
    latencies = evaluation.latencies
    return to_message(
        pb.Evaluation,
        evaluation,
        evaluation.comparing,
        baseline_latency=timedelta(seconds=latencies.baseline_s) if latencies else None,
        candidate_latency=timedelta(seconds=latencies.candidate_s) if latencies else None,
    )


def result_message(shown: Shown) -> pb.CaseResult:
    """Return the case result message."""
    return to_message(pb.CaseResult, shown, shown.result, earlier=[*map(turn_message, shown.earlier)])


def event_message(evaluation: Evaluation, event: Event, seq: int) -> tuple[str, Message]:
    """Return the ce_type and the payload of an event."""
    ce_type, message_class = _EVENTS[type(event)]
    return ce_type, to_message(message_class, evaluation, evaluation.comparing, seq=seq, evaluation=evaluation.id)
