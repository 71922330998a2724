"""Mapping between suites and their messages."""

from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.content.v1 import content_pb2
from tidemill.evaluator.v1 import suite_pb2
from tidemill_core.errors import InvalidInput
from tidemill_evaluator.suites.domain.cases import Case, Context, DocumentVersion, Role, Turn
from tidemill_evaluator.suites.domain.shipped import ShippedSuite
from tidemill_evaluator.suites.domain.suite import Suite
from tidemill_kit.mapping import from_message, from_struct, to_message

ROLES = {
    content_pb2.ROLE_SYSTEM: Role.SYSTEM,
    content_pb2.ROLE_USER: Role.USER,
    content_pb2.ROLE_ASSISTANT: Role.ASSISTANT,
}
_ROLE_NUMBERS = {role: number for number, role in ROLES.items()}
_ORIGIN: Mapping[str, Any] = {"proposal": "", "end_user": "", "corrected_by": "", "rests_on": ()}
"""What the evaluator alone says of a case."""


def suite_of(message: suite_pb2.Suite, project: str) -> Suite:
    """Return the suite of a request, without its cases."""
    return from_message(
        Suite,
        message,
        project=project,
        ignore={
            *("cases", "version", "digest"),
            *("case_count", "judged_case_count", "unanswerable_case_count", "expecting_case_count"),
            "proposed_case_count",
        },
    )


def cases_of(message: suite_pb2.Suite) -> Sequence[Case]:
    """Return the cases of a request.

    Raises:
        InvalidInput: a turn has a role or a part that is not supported, or variables contain NaN.

    """
    return [case_of(each, f"suite.cases[{number}]") for number, each in enumerate(message.cases)]


def suite_message(suite: Suite, cases: Sequence[Case] = ()) -> suite_pb2.Suite:
    """Return the suite message."""
    return to_message(
        suite_pb2.Suite,
        suite,
        cases=[*map(case_message, cases)],
        version=suite.number,
        case_count=suite.size,
        judged_case_count=suite.judged,
        unanswerable_case_count=suite.unanswerable,
        expecting_case_count=suite.expecting,
        proposed_case_count=suite.proposed,
    )


def case_message(case: Case) -> suite_pb2.Case:
    """Return the message of a case, which is its stored form too."""
    earlier = [*map(turn_message, case.context.earlier)]
    return to_message(suite_pb2.Case, case, case.context, earlier=earlier, variables=case.context.variables or None)


def turn_message(turn: Turn) -> content_pb2.Message:
    """Return the message of a turn."""
    return content_pb2.Message(role=_ROLE_NUMBERS[turn.role], parts=[content_pb2.Part(text=turn.text)])


def shipped_message(shipped: ShippedSuite) -> suite_pb2.ShippedSuite:
    """Return the message of a shipped suite."""
    return to_message(suite_pb2.ShippedSuite, shipped, case_count=len(shipped.cases))


def case_of(message: suite_pb2.Case, path: str, **origin: Any) -> Case:  # noqa: ANN401 - fields of a case
    """Return the case of a request or a file; `origin` is what is known of where it comes from.

    Raises:
        InvalidInput: as `cases_of`.

    """
    context = Context(
        earlier=tuple(turn_of(turn, f"{path}.earlier[{place}]") for place, turn in enumerate(message.earlier)),
        variables=from_struct(message.variables, field=f"{path}.variables"),
        principals=tuple(message.principals),
    )
    schema = from_struct(message.schema, field=f"{path}.schema") if message.HasField("schema") else None
    ignored = {"earlier", "variables", "principals", *_ORIGIN}
    return from_message(Case, message, context=context, schema=schema, ignore=ignored, **{**_ORIGIN, **origin})


def origin_of(message: suite_pb2.Case) -> Mapping[str, Any]:
    """Return where a stored case comes from."""
    rests_on = tuple(DocumentVersion(each.document, each.version, each.collection) for each in message.rests_on)
    said = {"proposal": message.proposal, "end_user": message.end_user, "corrected_by": message.corrected_by}
    return {**said, "rests_on": rests_on}


def turn_of(message: content_pb2.Message, path: str) -> Turn:
    """Return the turn of a request or a file.

    Raises:
        InvalidInput: it has a role or a part that is not supported.

    """
    role = ROLES.get(message.role)
    if role is None:
        text = f"is {message.role}: send ROLE_SYSTEM, ROLE_USER or ROLE_ASSISTANT"
        raise InvalidInput.at(field=f"{path}.role", text=text)
    if any(part.WhichOneof("content") != "text" for part in message.parts):
        raise InvalidInput.at(field=f"{path}.parts", text="must be text parts")
    return Turn(role, "".join(part.text for part in message.parts))
