"""The schema of loop.yaml's section rollouts."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tidemill_cli.loop.learning import Approval
from tidemill_cli.loop.shapes import Declared, Duration, Slug


class Step(Declared):
    """A shadow step, whose answers are not returned, or a canary with a share of the live requests."""

    shadow: bool = False
    weight: Annotated[int, Field(ge=1, le=100, description="percentage of live requests")] | None = None
    requests: Annotated[int, Field(ge=1, description="live requests after which the step ends")]
    at_least: Annotated[int, Field(ge=0, description="minimum of them that the candidate answers")] = 0
    at_most: Duration | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.shadow == (self.weight is not None):
            message = "use either shadow: true or weight: PERCENT"
            raise ValueError(message)
        if self.at_least > self.requests:
            message = f"at_least: {self.at_least} is more than requests ({self.requests})"
            raise ValueError(message)
        return self


class Above(Declared):
    """An upper bound of a rate."""

    above: Annotated[float, Field(ge=0, le=1)]


class RatioAbove(Declared):
    """An upper bound of candidate divided by baseline."""

    ratio_above: Annotated[float, Field(gt=0)]


class LossAbove(Declared):
    """An upper bound of baseline minus candidate."""

    loss_above: Annotated[float, Field(ge=0, le=1)]


class MetricRule(Declared):
    """What the values of a declared metric decide; all values of an end user count as one."""

    loss_above: Annotated[
        float | None, Field(ge=0, le=1, description="rolls back: baseline minus candidate, of scores from 0 to 1")
    ] = None
    at_least: Annotated[
        int, Field(ge=0, le=100_000, description="values of each side that a step with a weight waits for")
    ] = 0

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.loss_above is None and not self.at_least:
            message = "set loss_above, at_least, or both"
            raise ValueError(message)
        return self


class Abort(Declared):
    """Rules for automatic rollback; omitted rules are not checked."""

    error_rate: Above | None = None
    latency_p95: RatioAbove | None = None
    rating: LossAbove | None = None
    metrics: Annotated[
        dict[Slug, MetricRule], Field(max_length=5, description="by the name of a declared metric, at most 5")
    ] = Field(default_factory=dict)


class Rollout(Declared):
    """The progressive rollout of a candidate that passed its gate."""

    deployment: Slug
    gate: Annotated[Slug | None, Field(description="a gate of the model that the deployment follows")] = None
    index_gate: Annotated[
        Slug | None, Field(description="a gate of the collection that is searched: its index versions roll out, too")
    ] = None
    prompt_gate: Annotated[
        Slug | None, Field(description="a gate of the prompt that goes live by rollout: its new versions roll out, too")
    ] = None
    sticky_by: Literal["end_user", "request"] = "end_user"
    steps: Annotated[list[Step], Field(min_length=1)]
    abort: Abort = Abort()
    on_timeout: Literal["hold", "promote", "roll_back"] = "hold"
    approval: Approval = Approval()

    @property
    def gates(self) -> list[str]:
        """The gates whose candidates it rolls out."""
        return [gate for gate in (self.gate, self.index_gate, self.prompt_gate) if gate]

    @model_validator(mode="after")
    def _of_gates(self) -> Self:
        if not self.gates:
            message = "name a gate, an index_gate or a prompt_gate: its candidates are rolled out"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        weights = [step.weight or 0 for step in self.steps]
        rising = [weight for weight in weights if weight]
        if weights != sorted(weights) or len(set(rising)) != len(rising):
            message = "steps: shadow steps must come first, and weights must increase"
            raise ValueError(message)
        return self
