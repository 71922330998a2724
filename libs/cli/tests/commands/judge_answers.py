"""A judge that was measured, as evaluator has it."""

from tidemill.evaluator.v1 import judge_pb2 as pb

JUDGE = pb.Judge(
    id="tone",
    labels={"tidemill.dev/loop": "helpdesk"},
    deployment="grader",
    mode=pb.JUDGE_MODE_POINTWISE,
    rubric="Is it friendly?",
    criteria=[pb.JudgeCriterion(name="depth", scale=3)],
    reads=[pb.JUDGE_INPUT_PASSAGES],
    version=2,
    agreement=pb.JudgeAgreement(value=0.71, low=0.52, high=0.9, items=60, measure="cohen_kappa"),
)
