"""The section judges of loop.yaml, and the messages that it becomes."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tidemill.evaluator.v1 import judge_pb2 as pb
from tidemill_cli.loop.desired import Desired
from tidemill_cli.loop.shapes import SLUG, Declared, Share, Slug
from tidemill_client.judge_templates import TEMPLATES

PREFIX = "judge:"
JudgeMetric = Annotated[
    str, Field(pattern=SLUG.replace("^", f"^{PREFIX}", 1), description="judge:NAME, of the section judges")
]


class JudgeCriterion(Declared):
    """What a judge gives points for, from 1."""

    description: Annotated[str, Field(max_length=1000, description="what it means, and what 1 and the most mean")] = ""
    scale: Annotated[int, Field(ge=2, le=10, description="the highest points")] = 5


class Judge(Declared):
    """A model that scores answers by a rubric: the metric judge:NAME of gates."""

    deployment: Annotated[
        Slug | None, Field(description="what judges: its prompt is the question alone; no retrieval")
    ] = None
    mode: Annotated[
        Literal["pointwise", "pairwise"], Field(description="pairwise: candidate and baseline, in both orders")
    ] = "pointwise"
    rubric: Annotated[str | None, Field(min_length=1, max_length=8000)] = None
    template: Annotated[
        Literal["faithfulness", "answer_relevance", "context_precision", "context_recall"] | None,
        Field(description="in place of rubric, criteria and reads: those of RAGAS"),
    ] = None
    members: Annotated[
        list[Slug],
        Field(max_length=9, description="of a jury: other judges, whose median counts; nothing else is its own"),
    ] = Field(default_factory=list)
    criteria: Annotated[dict[Slug, JudgeCriterion], Field(max_length=10)] = Field(default_factory=dict)
    reads: Annotated[list[Literal["reference", "passages"]], Field(description="beside question and answer")] = Field(
        default_factory=list
    )
    min_agreement: Annotated[
        Share, Field(description="with people, as the lower bound, to decide in a gate; 0 means 0.4")
    ] = 0
    may_judge_itself: Annotated[bool, Field(description="its own model's answers, of any version")] = False

    @model_validator(mode="after")
    def _fits_its_mode(self) -> Self:
        alone = (self.deployment, self.rubric or self.template)
        if bool(self.members) == any(alone) or (not self.members and not all(alone)):
            message = "use either deployment and rubric, or members"
            raise ValueError(message)
        if self.template and (self.rubric or self.criteria or self.reads or self.mode == "pairwise"):
            message = "template has a rubric, criteria and reads of its own, and is pointwise: leave these out"
            raise ValueError(message)
        if self.mode == "pairwise" and self.criteria:
            message = "criteria are of pointwise judges: say in the rubric what to compare"
            raise ValueError(message)
        return self


def judge_in(metric: str) -> str:
    """Return the judge whose scores a metric is; "" of all other metrics."""
    return metric.removeprefix(PREFIX) if metric.startswith(PREFIX) else ""


def judge_resource(name: str, part: Judge, labels: dict[str, str]) -> Desired:
    """Return the resource of a judge."""
    made = TEMPLATES[part.template].judge(name, part.deployment or "") if part.template else _written(name, part)
    return Desired.of(
        "judge",
        pb.Judge,
        name,
        (("deployment", part.deployment),) if part.deployment else tuple(("judge", each) for each in part.members),
        labels=labels,
        deployment=made.deployment,
        mode=made.mode or pb.JUDGE_MODE_POINTWISE,
        rubric=made.rubric,
        members=part.members,
        criteria=made.criteria,
        reads=made.reads,
        min_agreement=part.min_agreement,
        may_judge_itself=part.may_judge_itself,
    )


def _written(name: str, part: Judge) -> pb.Judge:
    return pb.Judge(
        id=name,
        deployment=part.deployment or "",
        mode=pb.JudgeMode.Value(f"JUDGE_MODE_{part.mode.upper()}"),
        rubric=part.rubric or "",
        criteria=[pb.JudgeCriterion(name=each, **criterion.model_dump()) for each, criterion in part.criteria.items()],
        reads=[pb.JudgeInput.Value(f"JUDGE_INPUT_{each.upper()}") for each in dict.fromkeys(part.reads)],
    )
