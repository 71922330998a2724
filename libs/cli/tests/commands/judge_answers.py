"""A judge that was measured, as evaluator has it."""

from collections.abc import Callable
from typing import Any

from tidemill.evaluator.v1 import judge_pb2 as pb
from tidemill.evaluator.v1 import judge_service_pb2 as rpc

JUDGE = pb.Judge(
    id="tone",
    labels={"tidemill.dev/loop": "helpdesk"},
    deployment="grader",
    mode=pb.JUDGE_MODE_POINTWISE,
    rubric="Is it friendly?",
    criteria=[pb.JudgeCriterion(name="depth", scale=3)],
    reads=[pb.JUDGE_INPUT_PASSAGES],
    version=2,
    agreement=pb.JudgeAgreement(
        value=0.71, low=0.52, high=0.9, items=60, measure="cohen_kappa", version="tone@2-0123456789ab"
    ),
)


def _measured(request: rpc.MeasureJudgeRequest) -> rpc.MeasureJudgeResponse:
    judge = pb.Judge(id=request.id)
    judge.measurement.queue, judge.measurement.field = request.queue, request.field
    judge.measurement.state = pb.JUDGE_MEASUREMENT_STATE_RUNNING
    return rpc.MeasureJudgeResponse(judge=judge)


JUDGE_ANSWERS: dict[str, Callable[[Any], Any]] = {"evaluator.v1.judge_service:MeasureJudge": _measured}
