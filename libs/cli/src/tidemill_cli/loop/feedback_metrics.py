"""The section metrics of loop.yaml, and the messages that it becomes."""

from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, model_validator

from tidemill.feedback.v1 import feedback_metric_pb2 as pb
from tidemill_cli.loop.desired import Desired
from tidemill_cli.loop.durations import duration_of
from tidemill_cli.loop.shapes import Declared, Duration, Slug

_MAX_AMOUNT = 10**12

Amount = Annotated[float, Field(strict=True, ge=-_MAX_AMOUNT, le=_MAX_AMOUNT, allow_inf_nan=False)]
Weight = Annotated[float, Field(strict=True, ge=0, le=1000, allow_inf_nan=False)]


class BusinessValue(Declared):
    """What a value is worth; negative where it costs."""

    unit: Annotated[str, Field(min_length=1, max_length=32, description="for example EUR")]
    of: Annotated[Amount | dict[Slug, Amount], Field(description="of true, of 1, or by choice")]


class Weights(Declared):
    """How much a reaction counts by its rater."""

    user: Weight = 1
    reviewer: Weight = 1
    judge: Weight = 1


class Metric(Declared):
    """What may be said of an answer or a conversation, besides ratings, comments and corrections."""

    kind: Literal["boolean", "number", "category"]
    level: Literal["inference", "conversation"] = "inference"
    optimise: Literal["max", "min", "none"] = "none"
    min: Amount | None = None
    max: Amount | None = None
    matures_after: Annotated[
        Duration | None,
        Field(description="of a boolean or number of inferences: from then on, no value means `absent`"),
    ] = None
    absent: Annotated[
        StrictBool | Amount | None, Field(description="false by default; of a number it has to be said")
    ] = None
    choices: list[Slug] = Field(default_factory=list, max_length=50)
    good: list[Slug] = Field(
        default_factory=list, max_length=50, description="of a category: the choices that are better than the others"
    )
    value: BusinessValue | None = None
    weights: Weights = Weights()

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        number, category = self.kind == "number", self.kind == "category"
        if {self.min is None, self.max is None} != {not number}:
            message = "a number has a min and a max, and nothing else has one"
            raise ValueError(message)
        if problem := self._choice_problem() or self._maturity_problem():
            raise ValueError(problem)
        if self.value is not None and category != isinstance(self.value.of, dict):
            message = "value.of is a map of choices for a category, and one number for anything else"
            raise ValueError(message)
        return self

    def _choice_problem(self) -> str:
        category, unknown = self.kind == "category", [each for each in self.good if each not in self.choices]
        if category != bool(self.choices):
            return "a category has choices, and nothing else has them"
        if category and self.optimise != "none":
            return f"optimise: {self.optimise}: choices have no order; name the better ones in good"
        if unknown:
            return f"good: {unknown[0]} is none of the choices" if category else "good: only categories have it"
        if self.good and set(self.good) >= set(self.choices):
            return "good: has all choices; leave out those that are not better"
        return ""

    def _maturity_problem(self) -> str:
        is_number = self.kind == "number"
        if self.matures_after is None:
            return "" if self.absent is None or self.absent is False else "absent: is nothing without matures_after"
        if self.kind == "category" or self.level != "inference":
            return "matures_after: only booleans and numbers of inferences mature"
        if is_number and (self.absent is None or isinstance(self.absent, bool)):
            return "absent: say which number no value means"
        if not is_number and not isinstance(self.absent, bool | None):
            return "absent: is true or false of a boolean"
        return ""


def metric_resource(name: str, part: Metric, labels: dict[str, str]) -> Desired:
    """Return the resource of a metric."""
    return Desired.of(
        "metric",
        pb.FeedbackMetric,
        name,
        labels=labels,
        kind=pb.FeedbackMetricKind.Value(f"FEEDBACK_METRIC_KIND_{part.kind.upper()}"),
        level=pb.FeedbackMetricLevel.Value(f"FEEDBACK_METRIC_LEVEL_{part.level.upper()}"),
        optimise=pb.FeedbackMetricOptimise.Value(f"FEEDBACK_METRIC_OPTIMISE_{part.optimise.upper()}"),
        min=part.min,
        max=part.max,
        choices=part.choices,
        good_choices=part.good,
        matures_after=duration_of(part.matures_after),
        absent=part.absent is True,
        absent_number=part.absent if part.kind == "number" else None,
        value=_value(part.value),
        weights=pb.FeedbackMetricWeights(**part.weights.model_dump()),
    )


def _value(value: BusinessValue | None) -> pb.FeedbackMetricValue | None:
    if value is None:
        return None
    if isinstance(value.of, dict):
        return pb.FeedbackMetricValue(unit=value.unit, amounts=value.of)
    return pb.FeedbackMetricValue(unit=value.unit, amount=value.of)
