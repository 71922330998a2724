"""The part of loop.yaml that makes a loop of it: datasets, training, suites, gates and rollouts."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tidemill_client.loop.shapes import Declared, Duration, FromFile, Memory, Reference, Settings, Slug

Metric = Literal["rouge_l", "token_f1", "citation_valid", "output_chars"]


class Examples(Declared):
    """Which reactions become examples."""

    deployment: Slug
    feedback: Annotated[list[Literal["correction"]], Field(min_length=1)]
    per_user_at_most: Annotated[int, Field(ge=0, description="0 means no bound")] = 0
    min_output_chars: Annotated[int, Field(ge=0, description="0 means 1")] = 0
    max_output_chars: Annotated[int, Field(ge=0, description="0 means 4000")] = 0


class Publish(Declared):
    """When there are enough of them; counted after all filters."""

    new_examples: Annotated[int, Field(ge=1)]
    at_latest_every: Duration | None = None
    at_least: Annotated[int, Field(ge=1)] = 1


class HeldOut(Declared):
    """What is never trained on."""

    share: Annotated[float, Field(gt=0, le=0.9)] = 0.3
    group_by: Literal["question"] = "question"


class Dataset(Declared):
    """Examples out of reactions, published in immutable versions."""

    examples: Examples
    publish: Publish
    held_out: HeldOut = HeldOut()


class Limits(Declared):
    """What a training run may take."""

    time: Duration | None = None
    memory: Memory | None = None


class Training(Declared):
    """Every new version of the dataset trains a new version of the model of this name."""

    dataset: Slug
    base: Reference
    method: Literal["sft"] = "sft"
    lora: Annotated[Settings, Field(description="settings in the names of peft.LoraConfig")] = Field(
        default_factory=dict
    )
    args: Annotated[Settings, Field(description="settings in the names of trl.SFTConfig")] = Field(default_factory=dict)
    limits: Limits = Limits()


class Turn(Declared):
    """One message before a question."""

    role: Literal["system", "user", "assistant"]
    text: Annotated[str, Field(min_length=1)]


class Case(Declared):
    """One question with its right answer, and what it is asked with."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    question: Annotated[str, Field(min_length=1)]
    reference: Annotated[str, Field(min_length=1)]
    labels: dict[str, str] = Field(default_factory=dict)
    earlier: Annotated[list[Turn], Field(description="the messages before the question")] = Field(default_factory=list)
    variables: Annotated[dict[str, Any], Field(description="what the prompt's schema asks for")] = Field(
        default_factory=dict
    )
    principals: Annotated[list[str], Field(description="the reader groups that it is asked with")] = Field(
        default_factory=list
    )


class Suite(Declared):
    """Trusted cases, never fed by feedback; a file of them has one JSON object a line."""

    cases: FromFile | Annotated[list[Case], Field(min_length=1)]


class Cases(Declared):
    """Either a suite, or the held-out part of the dataset that the candidate was trained on."""

    suite: Slug | None = None
    dataset: Slug | None = None
    split: Literal["held_out"] | None = None
    at_least: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.suite is None) == (self.dataset is None):
            message = "write either suite: NAME, or dataset: NAME with split: held_out"
            raise ValueError(message)
        if (self.dataset is None) != (self.split is None):
            message = "a dataset needs split: held_out, for what was trained on proves nothing; a suite has no split"
            raise ValueError(message)
        return self


class Requirement(Declared):
    """A bound on the paired difference of candidate and baseline."""

    cases: Cases
    metric: Metric
    gain_above: Annotated[float, Field(ge=-1e6, le=1e6)] = 0.0


class Gate(Declared):
    """What a candidate must show before it may be rolled out."""

    candidate: Slug
    baseline: Literal["live"] = "live"
    confidence: Annotated[float, Field(ge=0.5, le=0.999)] = 0.95
    require: Annotated[list[Requirement], Field(min_length=1)]


class Step(Declared):
    """Either a shadow, whose answers nobody sees, or a share of the live requests."""

    shadow: bool = False
    weight: Annotated[int, Field(ge=1, le=100, description="percent of the live requests")] | None = None
    requests: Annotated[int, Field(ge=1, description="the step lasts for so many live requests")]
    at_least: Annotated[int, Field(ge=0, description="so many of them must be the candidate's")] = 0
    at_most: Duration | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.shadow == (self.weight is not None):
            message = "write either shadow: true or weight: PERCENT"
            raise ValueError(message)
        if self.at_least > self.requests:
            message = f"at_least: {self.at_least} is more than requests ({self.requests})"
            raise ValueError(message)
        return self


class Above(Declared):
    """A bound on a share."""

    above: Annotated[float, Field(ge=0, le=1)]


class RatioAbove(Declared):
    """A bound on candidate divided by baseline."""

    ratio_above: Annotated[float, Field(gt=0)]


class LossAbove(Declared):
    """A bound on baseline less candidate."""

    loss_above: Annotated[float, Field(ge=0, le=1)]


class Abort(Declared):
    """What rolls back by itself; a rule that is left out does not count."""

    error_rate: Above | None = None
    latency_p95: RatioAbove | None = None
    rating: LossAbove | None = None


class Approval(Declared):
    """Who must agree before the promotion."""

    role: Literal["operator"] = "operator"
    count: Annotated[int, Field(ge=0, le=100)] = 0


class Rollout(Declared):
    """How a candidate that passed its gate reaches users."""

    deployment: Slug
    gate: Slug
    sticky_by: Literal["end_user", "request"] = "end_user"
    steps: Annotated[list[Step], Field(min_length=1)]
    abort: Abort = Abort()
    on_timeout: Literal["hold", "promote", "roll_back"] = "hold"
    approval: Approval = Approval()

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        weights = [step.weight or 0 for step in self.steps]
        rising = [weight for weight in weights if weight]
        if weights != sorted(weights) or len(set(rising)) != len(rising):
            message = "steps: shadows come first, and each weight is above the one before"
            raise ValueError(message)
        return self
