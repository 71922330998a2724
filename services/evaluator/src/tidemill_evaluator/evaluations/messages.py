"""Mapping between evaluations and their messages."""

from dataclasses import asdict

from google.protobuf.duration_pb2 import Duration

from tidemill.evaluator.v1 import evaluation_pb2 as pb
from tidemill_evaluator.evaluations.domain.comparison import Verdict
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation, State
from tidemill_evaluator.evaluations.domain.results import CaseAnswer
from tidemill_evaluator.evaluations.list_case_results import Shown
from tidemill_evaluator.suites.messages import turn_message
from tidemill_kit.grpc.server import etag_of, timestamp_of

STATES = {
    State.QUEUED: pb.EVALUATION_STATE_QUEUED,
    State.RUNNING: pb.EVALUATION_STATE_RUNNING,
    State.COMPLETED: pb.EVALUATION_STATE_COMPLETED,
    State.FAILED: pb.EVALUATION_STATE_FAILED,
    State.CANCELLED: pb.EVALUATION_STATE_CANCELLED,
}
VERDICTS = {
    None: pb.VERDICT_UNSPECIFIED,
    Verdict.PASSED: pb.VERDICT_PASSED,
    Verdict.FAILED: pb.VERDICT_FAILED,
    Verdict.NONE: pb.VERDICT_NONE,
}


def evaluation_message(evaluation: Evaluation) -> pb.Evaluation:
    """Return the evaluation message."""
    return pb.Evaluation(
        id=evaluation.id,
        project=evaluation.project,
        seq=evaluation.seq,
        etag=etag_of(evaluation.version),
        labels=evaluation.labels,
        create_time=timestamp_of(evaluation.create_time),
        update_time=timestamp_of(evaluation.update_time),
        gate=evaluation.gate,
        deployment=evaluation.comparing.deployment,
        baseline=evaluation.baseline,
        baseline_configuration=evaluation.baseline_configuration,
        candidate=evaluation.candidate,
        dataset_version=evaluation.dataset_version,
        state=STATES[evaluation.state],
        answered=evaluation.answered,
        cases=evaluation.cases,
        remaining=_duration(evaluation.remaining_s),
        verdict=VERDICTS[evaluation.verdict],
        comparisons=[pb.Comparison(**asdict(comparison)) for comparison in evaluation.comparisons],
        reason=evaluation.reason,
        message=evaluation.message,
        finish_time=timestamp_of(evaluation.finish_time),
        confidence=evaluation.comparing.confidence,
        seed=evaluation.seed,
        baseline_latency=_duration(evaluation.latencies.baseline_s if evaluation.latencies else None),
        candidate_latency=_duration(evaluation.latencies.candidate_s if evaluation.latencies else None),
    )


def result_message(shown: Shown) -> pb.CaseResult:
    """Return the case result message."""
    return pb.CaseResult(
        case_set=shown.result.case_set,
        case=shown.result.case,
        question=shown.question,
        reference=shown.reference,
        earlier=[turn_message(turn) for turn in shown.earlier],
        baseline=_answer_message(shown.result.baseline),
        candidate=_answer_message(shown.result.candidate),
    )


def _answer_message(answer: CaseAnswer) -> pb.CaseAnswer:
    return pb.CaseAnswer(inference=answer.inference, text=answer.text, scores=answer.scores, failure=answer.failure)


def _duration(seconds: float | None) -> Duration | None:
    if seconds is None:
        return None
    duration = Duration()
    duration.FromMilliseconds(round(seconds * 1000))
    return duration
