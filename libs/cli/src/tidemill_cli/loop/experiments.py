"""The section experiments of loop.yaml, and the messages that it becomes."""

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tidemill.inference.v1 import experiment_pb2 as pb
from tidemill.inference.v1.rollout_pb2 import StickyBy
from tidemill_cli.loop.answering import Retrieval, Sampling, retrieval_message, sampling_message
from tidemill_cli.loop.desired import Desired
from tidemill_cli.loop.durations import duration_of
from tidemill_cli.loop.shapes import Declared, Duration, Share, SharedReference, Slug

_MAX_COHORTS = 5
"""Values of a label, where a file does not say."""


class ExperimentArm(Declared):
    """A variant of what is live: what it leaves out stays."""

    control: Annotated[bool, Field(description="true for the one arm that answers as the deployment does")] = False
    weight: Annotated[int, Field(ge=1, le=99, description="percent of the requests; left out: equal shares")] | None = (
        None
    )
    model: SharedReference | None = None
    prompt: SharedReference | None = None
    sampling: Sampling | None = None
    retrieval: Retrieval | None = None


class Measured(Declared):
    """What is measured, as a score of 0 (worst) to 1 (best)."""

    metric: Annotated[Slug | None, Field(description="of the section metrics, or rating")] = None
    measure: Literal["metric", "failures", "latency", "cost"] = "metric"
    worst: Annotated[
        float, Field(ge=0, description="seconds of latency, money of cost: from there on the score is 0")
    ] = 0

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        if (self.measure == "metric") != bool(self.metric):
            message = "use either metric: NAME, or measure: failures, latency or cost"
            raise ValueError(message)
        if (self.measure in {"latency", "cost"}) != bool(self.worst):
            message = "latency and cost need worst above 0, and nothing else has it"
            raise ValueError(message)
        return self


class ExperimentGuardrail(Measured):
    """What an arm must not lose against the control."""

    loss_above: Share


class ExperimentCohorts(Declared):
    """By which labels of requests results are shown."""

    labels: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=256)]],
        Field(min_length=1, max_length=3, description="of requests: those with the same value are of one cohort"),
    ]
    max_values: Annotated[
        int, Field(ge=1, le=50, description="of each label that have results of their own; all others are one")
    ] = _MAX_COHORTS


class Experiment(Declared):
    """Arms of a deployment, compared on its live requests."""

    deployment: Slug
    arms: Annotated[dict[Slug, ExperimentArm], Field(min_length=2, max_length=8)]
    goal: Measured
    guardrails: Annotated[list[ExperimentGuardrail], Field(max_length=5)] = Field(default_factory=list)
    weighting: Literal["fixed", "adaptive"] = "fixed"
    min_weight: Annotated[int, Field(ge=0, le=50, description="percent that each arm keeps; 0 is the default")] = 0
    alpha: Annotated[float, Field(ge=0.001, le=0.2)] = 0.05
    at_most: Duration = timedelta(days=14)
    sticky_by: Literal["end_user", "request"] = "end_user"
    cohorts: ExperimentCohorts | None = None

    @model_validator(mode="after")
    def _has_one_control(self) -> Self:
        if (controls := sum(arm.control for arm in self.arms.values())) != 1:
            message = f"has {controls} arms with control: true; use one"
            raise ValueError(message)
        return self


def experiment_resource(name: str, part: Experiment, labels: dict[str, str]) -> Desired:
    """Return the resource."""
    refers_to = [("deployment", part.deployment)]
    for arm in part.arms.values():
        refers_to += [("prompt", arm.prompt.partition("@")[0])] if arm.prompt else []
        refers_to += [("model", arm.model.partition("@")[0])] if arm.model else []
        refers_to += [("collection", arm.retrieval.collection)] if arm.retrieval else []
    named = [part.goal.metric, *(each.metric for each in part.guardrails)]
    refers_to += [("metric", each) for each in named if each and each != "rating"]
    return Desired.of(
        "experiment",
        pb.Experiment,
        name,
        refers_to,
        labels=labels,
        deployment=part.deployment,
        arms=[_arm(each, arm) for each, arm in part.arms.items()],
        goal=pb.ExperimentGoal(metric=part.goal.metric or "", measure=_measure(part.goal), worst=part.goal.worst),
        guardrails=[
            pb.ExperimentGuardrail(
                metric=each.metric or "", measure=_measure(each), worst=each.worst, loss_above=each.loss_above
            )
            for each in part.guardrails
        ],
        weighting=pb.ExperimentWeighting.Value(f"EXPERIMENT_WEIGHTING_{part.weighting.upper()}"),
        min_weight=part.min_weight,
        alpha=part.alpha,
        at_most=duration_of(part.at_most),
        sticky_by=StickyBy.Value(f"STICKY_BY_{part.sticky_by.upper()}"),
        cohorts=_cohorts(part.cohorts),
    )


def _cohorts(part: ExperimentCohorts | None) -> pb.ExperimentCohorts:
    """Return them as the service keeps them, so that applying a file again changes nothing."""
    if part is None:
        return pb.ExperimentCohorts(max_values=_MAX_COHORTS)
    return pb.ExperimentCohorts(labels=part.labels, max_values=part.max_values)


def _arm(name: str, part: ExperimentArm) -> pb.ExperimentArm:
    return pb.ExperimentArm(
        name=name,
        control=part.control,
        weight=part.weight or 0,
        model=part.model or "",
        prompt=part.prompt or "",
        sampling=sampling_message(part.sampling) if part.sampling else None,
        retrieval=retrieval_message(part.retrieval) if part.retrieval else None,
    )


def _measure(part: Measured) -> pb.ExperimentMeasure.ValueType:
    return pb.ExperimentMeasure.Value(f"EXPERIMENT_MEASURE_{part.measure.upper()}")
