"""Mapping between judges and their messages."""

from tidemill.evaluator.v1 import judge_pb2 as pb
from tidemill_evaluator.judges.domain.judge import Judge
from tidemill_kit.mapping import from_message, to_message


def judge_of(message: pb.Judge, project: str) -> Judge:
    """Return the judge of a request."""
    return from_message(
        Judge, message, prefix="judge", project=project, ignore={"version", "agreement", "measurement", "drift"}
    )


def judge_message(judge: Judge) -> pb.Judge:
    """Return the judge message."""
    return to_message(pb.Judge, judge, version=judge.number)
