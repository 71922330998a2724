"""Events of inference: answers, live configurations, rollouts."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from tidemill_monitor.events.meta import Counted

CANDIDATE = "candidate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """The fields that are read of what answered."""

    name: str = ""
    rollout: str = ""
    experiment: str = ""
    configuration: str = ""
    model: str = ""
    prompt: str = ""
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentUse:
    """A document version that an answer was given."""

    document: str
    version: int
    cited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What an answer cost; times as proto-JSON has them ("1.750s")."""

    input_tokens: int = 0
    output_tokens: int = 0
    total: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownExamples:
    """The dataset version whose examples an answer was given; which ones they are is in inference's record."""

    dataset: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceCompleted:
    """inference.completed. The end user is not read: monitor stores no data of people."""

    inference: str
    seq: int
    deployment: str = ""
    variant: Variant = Variant()
    purpose: str = ""
    documents: tuple[DocumentUse, ...] = ()
    usage: Usage = Usage()
    finish_reason: str = ""
    citations: int = 0
    citation_valid: float | None = None
    create_time: datetime | None = None
    examples: ShownExamples = ShownExamples()


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceFailed:
    """inference.failed."""

    inference: str
    seq: int
    deployment: str = ""
    variant: Variant = Variant()
    purpose: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceCancelled:
    """inference.cancelled."""

    inference: str
    seq: int
    deployment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentConfigured:
    """deployment.configured. A deployment has no predecessors: it has many configurations, recorded by its rollouts."""

    deployment: str
    seq: int
    configuration: str = ""
    model: str = ""
    prompt: str = ""
    replaced: str = ""
    examples_dataset: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentDeleted:
    """deployment.deleted."""

    deployment: str
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutEvent:
    """What all events of a rollout have."""

    deployment: str
    seq: int
    rollout: str
    candidate: str = ""
    configuration: str = ""
    evaluation: str = ""
    collection: str = ""
    """With `index`: the index version that is rolled out; "" where none is."""
    index: int = 0
    prompt: str = ""
    """`prompt@version` that is rolled out; "" where none is."""

    @property
    def named(self) -> str:
        """The candidate as a text names it."""
        if self.prompt:
            return f"prompt {self.prompt}"
        return f"index version {self.index} of {self.collection}" if self.collection else self.candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutStarted(RolloutEvent):
    """rollout.started."""

    baseline_configuration: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutAdvanced(RolloutEvent):
    """rollout.advanced."""

    state: str = ""
    step: int = 0
    weight: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPromoted(RolloutEvent):
    """rollout.promoted."""

    reason: str = ""
    message: str = ""
    replaced: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutRolledBack(RolloutEvent):
    """rollout.rolled_back."""

    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutRefused(RolloutEvent):
    """rollout.refused."""

    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptVersionCreated:
    """prompt.version_created: a prompt has a new version."""

    prompt: str
    seq: int
    version: int
    digest: str = ""
    origin: str = ""
    """`prompt@version` of another prompt that was forked or merged into it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetExhausted(Counted):
    """budget.exhausted: the first refusal in a window. It adds nothing to the history; the audit log has its reason."""

    limited: str = ""

    @property
    def reason(self) -> str:
        """What is used up, as the audit log has reasons."""
        return self.limited.upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteModelChanged:
    """remote_model.changed: a provider answers for a version as another model than before."""

    model: str
    seq: int
    provider_model: str = ""
    system_fingerprint: str = ""
    previous_provider_model: str = ""
    previous_system_fingerprint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentArm:
    """An arm as it starts."""

    name: str
    configuration: str = ""
    weight: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentStarted:
    """experiment.started: part of the history of its deployment."""

    deployment: str
    seq: int
    experiment: str = ""
    baseline_configuration: str = ""
    arms: tuple[ExperimentArm, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentEnded:
    """experiment.ended."""

    deployment: str
    seq: int
    experiment: str = ""
    reason: str = ""
    message: str = ""
    best: str = ""
    configuration: str = ""


TYPES: Mapping[str, type] = {
    "tidemill.inference.inference.completed.v1": InferenceCompleted,
    "tidemill.inference.inference.failed.v1": InferenceFailed,
    "tidemill.inference.inference.cancelled.v1": InferenceCancelled,
    "tidemill.inference.deployment.configured.v1": DeploymentConfigured,
    "tidemill.inference.deployment.deleted.v1": DeploymentDeleted,
    "tidemill.inference.prompt.version_created.v1": PromptVersionCreated,
    "tidemill.inference.budget.exhausted.v1": BudgetExhausted,
    "tidemill.inference.remote_model.changed.v1": RemoteModelChanged,
    "tidemill.inference.experiment.started.v1": ExperimentStarted,
    "tidemill.inference.experiment.ended.v1": ExperimentEnded,
    "tidemill.inference.rollout.started.v1": RolloutStarted,
    "tidemill.inference.rollout.advanced.v1": RolloutAdvanced,
    "tidemill.inference.rollout.promoted.v1": RolloutPromoted,
    "tidemill.inference.rollout.rolled_back.v1": RolloutRolledBack,
    "tidemill.inference.rollout.refused.v1": RolloutRefused,
}
