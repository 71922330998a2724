"""Mapping between messages and the domain."""

from collections.abc import Sequence
from dataclasses import asdict

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from tidemill.content.v1 import content_pb2
from tidemill.evaluator.v1 import evaluation_pb2 as pb
from tidemill.evaluator.v1 import suite_pb2
from tidemill_core.errors import InvalidInput, Violation
from tidemill_evaluator.evaluations.domain.comparison import Verdict
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation, State
from tidemill_evaluator.evaluations.list_case_results import Shown
from tidemill_evaluator.gates.domain import CONFIDENCE, Gate, Requirement
from tidemill_evaluator.suites.domain.cases import Case, CaseAnswer, Context, Role, Turn
from tidemill_evaluator.suites.domain.suite import Suite
from tidemill_kit.grpc.server import etag_of, timestamp_of

STATES = {
    State.QUEUED: pb.EVALUATION_STATE_QUEUED,
    State.RUNNING: pb.EVALUATION_STATE_RUNNING,
    State.COMPLETED: pb.EVALUATION_STATE_COMPLETED,
    State.FAILED: pb.EVALUATION_STATE_FAILED,
    State.CANCELLED: pb.EVALUATION_STATE_CANCELLED,
}
ROLES = {
    content_pb2.ROLE_SYSTEM: Role.SYSTEM,
    content_pb2.ROLE_USER: Role.USER,
    content_pb2.ROLE_ASSISTANT: Role.ASSISTANT,
}
_ROLE_NUMBERS = {role: number for number, role in ROLES.items()}
VERDICTS = {
    None: pb.VERDICT_UNSPECIFIED,
    Verdict.PASSED: pb.VERDICT_PASSED,
    Verdict.FAILED: pb.VERDICT_FAILED,
    Verdict.NONE: pb.VERDICT_NONE,
}


def required(message: Message, field: str) -> None:
    """Check that a required message field is set.

    Raises:
        InvalidInput: naming the field.

    """
    if not message.HasField(field):
        raise InvalidInput.of(Violation(field=field, description="is missing"))


def suite_of(message: suite_pb2.Suite, project: str) -> Suite:
    """Return the suite of a request, without its cases."""
    return Suite(id=message.id, project=project, labels=dict(message.labels))


def cases_of(message: suite_pb2.Suite) -> Sequence[Case]:
    """Return the cases of a request.

    Raises:
        InvalidInput: a turn has a role or a part that is not supported.

    """
    return [
        Case(
            id=each.id,
            question=each.question,
            reference=each.reference,
            labels=dict(each.labels),
            context=Context(
                earlier=tuple(
                    _turn_of(turn, f"suite.cases[{number}].earlier[{place}]") for place, turn in enumerate(each.earlier)
                ),
                variables=MessageToDict(each.variables),
                principals=tuple(each.principals),
            ),
        )
        for number, each in enumerate(message.cases)
    ]


def suite_message(suite: Suite, cases: Sequence[Case] = ()) -> suite_pb2.Suite:
    """Return the suite message."""
    return suite_pb2.Suite(
        id=suite.id,
        project=suite.project,
        seq=suite.seq,
        etag=etag_of(suite.version),
        labels=suite.labels,
        create_time=timestamp_of(suite.create_time),
        update_time=timestamp_of(suite.update_time),
        cases=[
            suite_pb2.Case(
                id=each.id,
                question=each.question,
                reference=each.reference,
                labels=each.labels,
                earlier=[_turn_message(turn) for turn in each.context.earlier],
                variables=ParseDict(dict(each.context.variables), Struct()) if each.context.variables else None,
                principals=each.context.principals,
            )
            for each in cases
        ],
        version=suite.number,
        digest=suite.digest,
        case_count=suite.size,
    )


def gate_of(message: pb.Gate, project: str) -> Gate:
    """Return the gate of a request."""
    return Gate(
        id=message.id,
        project=project,
        labels=dict(message.labels),
        deployment=message.deployment,
        candidate=message.candidate,
        confidence=message.confidence or CONFIDENCE,
        require=tuple(
            Requirement(
                suite=each.suite,
                dataset=each.dataset,
                metric=each.metric,
                gain_above=each.gain_above,
                at_least=each.at_least,
            )
            for each in message.require
        ),
        paused=message.paused,
    )


def gate_message(gate: Gate) -> pb.Gate:
    """Return the gate message."""
    return pb.Gate(
        id=gate.id,
        project=gate.project,
        seq=gate.seq,
        etag=etag_of(gate.version),
        labels=gate.labels,
        create_time=timestamp_of(gate.create_time),
        update_time=timestamp_of(gate.update_time),
        deployment=gate.deployment,
        candidate=gate.candidate,
        confidence=gate.confidence,
        require=[_requirement_message(requirement) for requirement in gate.require],
        paused=gate.paused,
    )


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
        earlier=[_turn_message(turn) for turn in shown.earlier],
        baseline=_answer_message(shown.result.baseline),
        candidate=_answer_message(shown.result.candidate),
    )


def _turn_of(message: content_pb2.Message, path: str) -> Turn:
    role = ROLES.get(message.role)
    if role is None:
        text = f"is {message.role}: send ROLE_SYSTEM, ROLE_USER or ROLE_ASSISTANT"
        raise InvalidInput.of(Violation(field=f"{path}.role", description=text))
    if any(part.WhichOneof("content") != "text" for part in message.parts):
        raise InvalidInput.of(Violation(field=f"{path}.parts", description="must be text parts"))
    return Turn(role, "".join(part.text for part in message.parts))


def _turn_message(turn: Turn) -> content_pb2.Message:
    return content_pb2.Message(role=_ROLE_NUMBERS[turn.role], parts=[content_pb2.Part(text=turn.text)])


def _requirement_message(requirement: Requirement) -> pb.Requirement:
    message = pb.Requirement(
        metric=requirement.metric, gain_above=requirement.gain_above, at_least=requirement.at_least
    )
    if requirement.suite:
        message.suite = requirement.suite
    else:
        message.dataset = requirement.dataset
    return message


def _answer_message(answer: CaseAnswer) -> pb.CaseAnswer:
    return pb.CaseAnswer(inference=answer.inference, text=answer.text, scores=answer.scores, failure=answer.failure)


def _duration(seconds: float | None) -> Duration | None:
    if seconds is None:
        return None
    duration = Duration()
    duration.FromMilliseconds(round(seconds * 1000))
    return duration
