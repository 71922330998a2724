"""Mapping between judges and their messages."""

from tidemill.evaluator.v1 import judge_pb2 as pb
from tidemill.evaluator.v1 import judge_service_pb2 as rpc
from tidemill_core.errors import InvalidInput
from tidemill_evaluator.judges.domain.form import Material
from tidemill_evaluator.judges.domain.judge import Judge
from tidemill_evaluator.suites.messages import turn_of
from tidemill_kit.mapping import from_message, to_message

MAX_EARLIER = 1000
"""Turns before a question that a judge reads."""


def judge_of(message: pb.Judge, project: str) -> Judge:
    """Return the judge of a request."""
    return from_message(
        Judge, message, prefix="judge", project=project, ignore={"version", "agreement", "measurement", "drift"}
    )


def judge_message(judge: Judge) -> pb.Judge:
    """Return the judge message."""
    return to_message(pb.Judge, judge, version=judge.number)


def material_of(request: rpc.ScoreAnswerRequest) -> Material:
    """Return what is to be scored.

    Raises:
        InvalidInput: an earlier turn has a role or a part that is not supported, or there are too many.

    """
    if (turns := len(request.earlier)) > MAX_EARLIER:
        text = f"has {turns} turns; the limit is {MAX_EARLIER}: leave out the first ones"
        raise InvalidInput.at(field="earlier", text=text)
    earlier = [turn_of(turn, f"earlier[{place}]") for place, turn in enumerate(request.earlier)]
    return Material(
        question=request.question,
        answer=request.answer,
        earlier=[(turn.role.value, turn.text) for turn in earlier],
        reference=request.reference,
    )
