"""Events of inference: answers, live configurations, rollouts."""

from dataclasses import dataclass
from datetime import datetime

from tidemill_monitor.domain.events import EventMeta, sources_of, version_id
from tidemill_monitor.domain.graph import Edge, NodeUpdate, Ref
from tidemill_monitor.domain.kinds import (
    ALLOWED,
    ANSWERED,
    ANSWERED_IN,
    CITED_BY,
    GIVEN_TO,
    PROMPTED,
    ROLLED_OUT,
    ROLLS_OUT,
    Kind,
)

CANDIDATE = "candidate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """The fields that are read of what answered."""

    name: str = ""
    rollout: str = ""
    configuration: str = ""
    model: str = ""
    prompt: str = ""
    index: int = 0

    def sources(self, inference: Ref) -> tuple[Edge, ...]:
        """Return what made the answer: only a candidate's answers came of its rollout."""
        rollout = self.rollout if self.name == CANDIDATE else ""
        made_by = ((ANSWERED, self.model), (PROMPTED, self.prompt), (ANSWERED_IN, rollout))
        return sources_of(inference, *made_by)

    @property
    def facts(self) -> dict[str, object]:
        """The facts of the answer's node."""
        return {
            "variant": self.name,
            "configuration": self.configuration,
            "model": self.model,
            "prompt": self.prompt,
            "index": self.index or None,
        }


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

    def updates(self, meta: EventMeta) -> tuple[NodeUpdate, ...]:
        """Return the answer, which came of documents, a prompt, a model and perhaps a rollout."""
        ref = Ref(Kind.INFERENCE, self.inference)
        born = EventMeta(type=meta.type, time=self.create_time or meta.time)
        part = born.state(
            self.seq,
            state="completed",
            deployment=self.deployment,
            purpose=word_of(self.purpose, "PURPOSE_"),
            input_tokens=self.usage.input_tokens,
            output_tokens=self.usage.output_tokens,
            total=self.usage.total,
            finish_reason=self.finish_reason,
            citations=self.citations,
            citation_valid=self.citation_valid,
            **self.variant.facts,
        )
        given = [
            (CITED_BY if each.cited else GIVEN_TO, version_id(each.document, each.version)) for each in self.documents
        ]
        return (NodeUpdate(ref=ref, part=part, sources=self.variant.sources(ref) + sources_of(ref, *given)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceFailed:
    """inference.failed."""

    inference: str
    seq: int
    deployment: str = ""
    variant: Variant = Variant()
    purpose: str = ""
    reason: str = ""

    def updates(self, meta: EventMeta) -> tuple[NodeUpdate, ...]:
        """Return the answer that was not given; what should have given it are facts of it.

        It came of nothing: the same request may be answered later, by another variant.
        """
        ref = Ref(Kind.INFERENCE, self.inference)
        part = meta.state(
            self.seq,
            state="failed",
            reason=self.reason,
            deployment=self.deployment,
            purpose=word_of(self.purpose, "PURPOSE_"),
            **self.variant.facts,
        )
        return (NodeUpdate(ref=ref, part=part),)


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceCancelled:
    """inference.cancelled."""

    inference: str
    seq: int
    deployment: str = ""

    def updates(self, meta: EventMeta) -> tuple[NodeUpdate, ...]:
        """Return the cancelled answer."""
        part = meta.state(self.seq, state="cancelled", deployment=self.deployment)
        return (NodeUpdate(ref=Ref(Kind.INFERENCE, self.inference), part=part),)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentConfigured:
    """deployment.configured. A deployment has no predecessors: it has many configurations, recorded by its rollouts."""

    deployment: str
    seq: int
    configuration: str = ""
    model: str = ""
    prompt: str = ""
    replaced: str = ""

    def updates(self, meta: EventMeta) -> tuple[NodeUpdate, ...]:
        """Return what is live now."""
        message = f"{self.model} with {self.prompt} answers"
        facts = {"configuration": self.configuration, "model": self.model, "prompt": self.prompt}
        part = meta.part(self.seq, message, state="live", replaced=self.replaced, **facts)
        return (NodeUpdate(ref=Ref(Kind.DEPLOYMENT, self.deployment), part=part),)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentDeleted:
    """deployment.deleted."""

    deployment: str
    seq: int

    def updates(self, meta: EventMeta) -> tuple[NodeUpdate, ...]:
        """Return that nothing answers any more."""
        part = meta.part(self.seq, "the deployment is deleted", state="deleted")
        return (NodeUpdate(ref=Ref(Kind.DEPLOYMENT, self.deployment), part=part),)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutEvent:
    """What all events of a rollout have."""

    deployment: str
    seq: int
    rollout: str
    candidate: str = ""
    configuration: str = ""
    evaluation: str = ""

    def _updates(self, meta: EventMeta, message: str, **facts: object) -> tuple[NodeUpdate, ...]:
        ref = Ref(Kind.ROLLOUT, self.rollout)
        part = meta.part(
            self.seq,
            message,
            deployment=self.deployment,
            candidate=self.candidate,
            configuration=self.configuration,
            **facts,
        )
        came_from = ((ALLOWED, self.evaluation), (ROLLED_OUT, self.candidate), (ROLLS_OUT, self.deployment))
        return (NodeUpdate(ref=ref, part=part, sources=sources_of(ref, *came_from)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutStarted(RolloutEvent):
    """rollout.started."""

    baseline_configuration: str = ""

    def updates(self, meta: EventMeta) -> tuple[NodeUpdate, ...]:
        """Return the rollout."""
        message = f"the rollout of {self.candidate} begins"
        return self._updates(meta, message, state="started", baseline_configuration=self.baseline_configuration)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutAdvanced(RolloutEvent):
    """rollout.advanced."""

    state: str = ""
    step: int = 0
    weight: int = 0
    message: str = ""

    def updates(self, meta: EventMeta) -> tuple[NodeUpdate, ...]:
        """Return the step that the rollout is at."""
        state = word_of(self.state, "ROLLOUT_STATE_")
        share = f", {self.weight} % of the requests" if self.weight else ""
        why = f": {self.message}" if self.message else ""
        message = f"{state}, step {self.step + 1}{share}{why}"
        return self._updates(meta, message, state=state, step=self.step, weight=self.weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPromoted(RolloutEvent):
    """rollout.promoted."""

    reason: str = ""
    message: str = ""
    replaced: str = ""

    def updates(self, meta: EventMeta) -> tuple[NodeUpdate, ...]:
        """Return the end of the rollout."""
        message = f"{self.candidate} is promoted and live: {self.message or self.reason}"
        return self._updates(meta, message, state="promoted", weight=100, reason=self.reason, replaced=self.replaced)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutRolledBack(RolloutEvent):
    """rollout.rolled_back."""

    reason: str = ""
    message: str = ""

    def updates(self, meta: EventMeta) -> tuple[NodeUpdate, ...]:
        """Return the end of the rollout."""
        message = f"{self.candidate} is rolled back: {self.message or self.reason}"
        return self._updates(meta, message, state="rolled_back", weight=0, reason=self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutRefused(RolloutEvent):
    """rollout.refused."""

    reason: str = ""
    message: str = ""

    def updates(self, meta: EventMeta) -> tuple[NodeUpdate, ...]:
        """Return the rollout that did not begin."""
        message = f"no rollout of {self.candidate}: {self.message or self.reason}"
        return self._updates(meta, message, state="refused", reason=self.reason)


def word_of(value: str, prefix: str) -> str:
    """Return an enum's value as a word: "canary" for ROLLOUT_STATE_CANARY."""
    return value.removeprefix(prefix).lower()
