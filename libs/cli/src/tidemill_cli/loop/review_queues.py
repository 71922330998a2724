"""The section reviews of loop.yaml, and the messages that it becomes."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tidemill.feedback.v1 import review_pb2 as pb
from tidemill_cli.loop.desired import Desired
from tidemill_cli.loop.durations import duration_of
from tidemill_cli.loop.shapes import Declared, Duration, Share, Slug


class ReviewField(Declared):
    """What reviewers say of an item."""

    kind: Literal["category", "boolean", "number", "text"]
    description: str = ""
    choices: Annotated[list[str], Field(max_length=100, description="of a category")] = Field(default_factory=list)
    min: Annotated[float | None, Field(description="of a number")] = None
    max: Annotated[float | None, Field(description="of a number")] = None
    tolerance: Annotated[float, Field(ge=0, description="numbers that differ by no more agree")] = 0
    max_chars: Annotated[int, Field(ge=0, description="of a text; 0 means 4000")] = 0
    required: bool = False

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if (self.kind == "category") != bool(self.choices):
            message = "a category has choices, and nothing else has them"
            raise ValueError(message)
        if self.kind != "number" and (self.min is not None or self.max is not None or self.tolerance):
            message = "min, max and tolerance are of numbers only"
            raise ValueError(message)
        return self


class ReviewSampling(Declared):
    """Which live answers become items by themselves."""

    deployment: Slug
    strategy: Annotated[
        Literal["newest", "random", "stratified", "uncertain"],
        Field(description="uncertain: little support by the sources, cut short, or rated low"),
    ]
    share: Annotated[Share, Field(description="of what the strategy selects; 0 means all")] = 0
    max_open_per_stratum: Annotated[int, Field(ge=0, description="of stratified: for each configuration")] = 0
    support_below: Annotated[Share, Field(description="of uncertain; 0 means 0.5")] = 0
    rating_below: Annotated[Share, Field(description="of uncertain; 0 means 0.5")] = 0


class ReviewQueue(Declared):
    """Items that reviewers label."""

    instructions: str = ""
    fields: Annotated[dict[Slug, ReviewField], Field(min_length=1, max_length=20)]
    sampling: ReviewSampling | None = None
    reviewers: Annotated[int, Field(ge=1, le=25, description="reviews that an item needs")] = 1
    claim_time: Annotated[Duration | None, Field(description="15m unless it is set")] = None
    gold_share: Annotated[float, Field(ge=0, le=0.5)] = 0
    min_agreement: Annotated[Share, Field(description="0 means more than half")] = 0
    max_open_items: Annotated[int, Field(ge=0, le=10_000, description="0 means 1000")] = 0


def review_resource(name: str, part: ReviewQueue, labels: dict[str, str]) -> Desired:
    """Return the resource of a review queue."""
    return Desired.of(
        "review_queue",
        pb.ReviewQueue,
        name,
        (("deployment", part.sampling.deployment),) if part.sampling else (),
        labels=labels,
        instructions=part.instructions,
        fields=[_field(each, field) for each, field in part.fields.items()],
        sampling=_sampling(part.sampling) if part.sampling else None,
        reviewers=part.reviewers,
        claim_time=duration_of(part.claim_time),
        gold_share=part.gold_share,
        min_agreement=part.min_agreement,
        max_open_items=part.max_open_items,
    )


def _field(name: str, part: ReviewField) -> pb.LabelField:
    kind = pb.LabelKind.Value(f"LABEL_KIND_{part.kind.upper()}")
    return pb.LabelField(name=name, **(part.model_dump() | {"kind": kind}))


def _sampling(part: ReviewSampling) -> pb.ReviewSampling:
    strategy = pb.SamplingStrategy.Value(f"SAMPLING_STRATEGY_{part.strategy.upper()}")
    return pb.ReviewSampling(**(part.model_dump() | {"strategy": strategy}))
