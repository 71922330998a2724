"""Mapping between suites and their messages."""

from collections.abc import Sequence

from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct

from tidemill.content.v1 import content_pb2
from tidemill.evaluator.v1 import suite_pb2
from tidemill_core.errors import InvalidInput, Violation
from tidemill_evaluator.suites.domain.cases import Case, Context, Role, Turn
from tidemill_evaluator.suites.domain.suite import Suite
from tidemill_kit.grpc.server import etag_of, timestamp_of

ROLES = {
    content_pb2.ROLE_SYSTEM: Role.SYSTEM,
    content_pb2.ROLE_USER: Role.USER,
    content_pb2.ROLE_ASSISTANT: Role.ASSISTANT,
}
_ROLE_NUMBERS = {role: number for number, role in ROLES.items()}


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
        cases=[case_message(case) for case in cases],
        version=suite.number,
        digest=suite.digest,
        case_count=suite.size,
    )


def _turn_of(message: content_pb2.Message, path: str) -> Turn:
    role = ROLES.get(message.role)
    if role is None:
        text = f"is {message.role}: send ROLE_SYSTEM, ROLE_USER or ROLE_ASSISTANT"
        raise InvalidInput.of(Violation(field=f"{path}.role", description=text))
    if any(part.WhichOneof("content") != "text" for part in message.parts):
        raise InvalidInput.of(Violation(field=f"{path}.parts", description="must be text parts"))
    return Turn(role, "".join(part.text for part in message.parts))


def case_message(case: Case) -> suite_pb2.Case:
    """Return the message of a case, which is its stored form too."""
    context = case.context
    return suite_pb2.Case(
        id=case.id,
        question=case.question,
        reference=case.reference,
        labels=case.labels,
        earlier=[turn_message(turn) for turn in context.earlier],
        variables=ParseDict(dict(context.variables), Struct()) if context.variables else None,
        principals=context.principals,
    )


def turn_message(turn: Turn) -> content_pb2.Message:
    """Return the message of a turn."""
    return content_pb2.Message(role=_ROLE_NUMBERS[turn.role], parts=[content_pb2.Part(text=turn.text)])
