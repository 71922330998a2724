"""Events of feedback, trainer and evaluator: feedback, curations, runs, model versions, evaluations."""

from dataclasses import dataclass

from tidemill_core.aggregate import ObjectRef
from tidemill_monitor.domain.events import Counted, EventMeta, curation_ref, sources_of
from tidemill_monitor.domain.graph import Batch, NodeUpdate, Ref
from tidemill_monitor.domain.inference_events import word_of
from tidemill_monitor.domain.kinds import (
    ADAPTED,
    BASE_OF,
    COMPARED,
    CURATED,
    EVALUATED,
    HELD_OUT_FOR,
    REACTED_TO,
    REGISTERED,
    TRAINED_ON,
    Kind,
)

MAX_COMPARISONS = 50
"""Of one evaluation's evidence, so that its node stays small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackRecorded:
    """feedback.recorded. Who gave it is not read."""

    feedback: str
    seq: int
    inference: str
    deployment: str = ""
    metric: str = ""
    number: float | None = None
    rater: str = ""
    variant: str = ""

    def updates(self, meta: EventMeta) -> tuple[NodeUpdate, ...]:
        """Return the reaction to an answer."""
        ref = Ref(Kind.FEEDBACK, self.feedback)
        facts = {"metric": self.metric, "number": self.number, "rater": self.rater, "variant": self.variant}
        part = meta.state(self.seq, deployment=self.deployment, **facts)
        return (NodeUpdate(ref=ref, part=part, sources=sources_of(ref, (REACTED_TO, self.inference))),)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackWithdrawn:
    """feedback.withdrawn. Who had given it is not read."""

    feedback: str
    seq: int
    inference: str
    deployment: str = ""
    metric: str = ""
    rater: str = ""

    def updates(self, meta: EventMeta) -> tuple[NodeUpdate, ...]:
        """Return the reaction as it is from then on: taken back."""
        ref = Ref(Kind.FEEDBACK, self.feedback)
        facts = {"metric": self.metric, "rater": self.rater, "withdrawn": True}
        part = meta.state(self.seq, deployment=self.deployment, **facts)
        return (NodeUpdate(ref=ref, part=part, sources=sources_of(ref, (REACTED_TO, self.inference))),)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleBatch:
    """Where the examples of a completion lie."""

    bucket: str
    key: str
    size: int
    sha256: str
    examples: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CurationCompleted:
    """curation.completed."""

    curation: str
    seq: int
    batch: ExampleBatch
    dataset: str = ""
    deployment: str = ""
    new_examples: int = 0

    def updates(self, meta: EventMeta) -> tuple[NodeUpdate, ...]:
        """Return the completion; which reactions it is made of stands in its batch."""
        ref = curation_ref(self.curation, self.seq)
        message = f"there are enough examples: {self.batch.examples}, {self.new_examples} of them new"
        facts = {"dataset": self.dataset, "deployment": self.deployment, "new_examples": self.new_examples}
        part = meta.part(self.seq, message, examples=self.batch.examples, **facts)
        return (NodeUpdate(ref=ref, part=part, sources=sources_of(ref, (CURATED, self.deployment))),)

    def batch_of(self, project: str, meta: EventMeta) -> Batch:
        """Return what is to be read."""
        batch = self.batch
        return Batch(
            project=project,
            curation=curation_ref(self.curation, self.seq).id,
            object=ObjectRef(bucket=batch.bucket, key=batch.key, size=batch.size, sha256=batch.sha256),
            examples=batch.examples,
            time=meta.time,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunQueued:
    """run.queued."""

    run: str
    seq: int
    plan: str = ""
    dataset_version: str = ""
    base: str = ""

    def updates(self, meta: EventMeta) -> tuple[NodeUpdate, ...]:
        """Return the run, which comes of a dataset version and a base."""
        ref = Ref(Kind.TRAINING_RUN, self.run)
        message = f"training of {self.plan} on {self.dataset_version} waits for its turn"
        part = meta.part(self.seq, message, state="queued", plan=self.plan, dataset_version=self.dataset_version)
        came_from = sources_of(ref, (TRAINED_ON, self.dataset_version), (BASE_OF, self.base))
        return (NodeUpdate(ref=ref, part=part, sources=came_from),)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunExamples:
    """How many examples a run was given, and what became of them; none is cut."""

    offered: int = 0
    fitted: int = 0
    too_long: int = 0
    refused: int = 0
    empty: int = 0

    def __str__(self) -> str:
        """Return the counts in words."""
        left_out = {"too long": self.too_long, "refused by the base": self.refused, "empty": self.empty}
        why = ", ".join(f"{count} {words}" for words, count in left_out.items() if count)
        return f"{self.fitted} of {self.offered}" + (f" ({why})" if why else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSucceeded:
    """run.succeeded."""

    run: str
    seq: int
    plan: str = ""
    dataset_version: str = ""
    model_version: str = ""
    time: str = ""
    """As proto-JSON has it ("74.200s")."""
    loss: float | None = None
    examples: RunExamples | None = None

    def updates(self, meta: EventMeta) -> tuple[NodeUpdate, ...]:
        """Return the run's end, and the model version that came of it."""
        ref = Ref(Kind.TRAINING_RUN, self.run)
        seconds = float(self.time.removesuffix("s") or 0)
        loss = "" if self.loss is None else f", loss {self.loss:.4g}"
        examples = "" if self.examples is None else str(self.examples)
        message = f"{self.model_version} is trained: {seconds:.0f} s{loss}" + (
            f", examples {examples}" if examples else ""
        )
        named = {"plan": self.plan, "dataset_version": self.dataset_version, "model_version": self.model_version}
        facts = named | {"examples": examples}
        part = meta.part(self.seq, message, state="succeeded", seconds=seconds, loss=self.loss, **facts)
        run = NodeUpdate(ref=ref, part=part, sources=sources_of(ref, (TRAINED_ON, self.dataset_version)))
        if not self.model_version:
            return (run,)
        model = Ref(Kind.MODEL_VERSION, self.model_version)
        of_model = meta.part(self.seq, examples=examples) if examples else None
        return (run, NodeUpdate(ref=model, part=of_model, sources=sources_of(model, (REGISTERED, self.run))))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFailed:
    """run.failed."""

    run: str
    seq: int
    plan: str = ""
    dataset_version: str = ""
    reason: str = ""
    message: str = ""

    def updates(self, meta: EventMeta) -> tuple[NodeUpdate, ...]:
        """Return the run's end."""
        ref = Ref(Kind.TRAINING_RUN, self.run)
        message = f"training of {self.plan} made nothing: {self.message or self.reason}"
        facts = {"plan": self.plan, "dataset_version": self.dataset_version, "reason": self.reason}
        part = meta.part(self.seq, message, state="failed", **facts)
        return (NodeUpdate(ref=ref, part=part, sources=sources_of(ref, (TRAINED_ON, self.dataset_version))),)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersionRegistered:
    """model.version_registered."""

    version: str
    seq: int
    digest: str = ""
    total_bytes: int = 0
    run: str = ""
    base: str = ""
    dataset_version: str = ""

    def updates(self, meta: EventMeta) -> tuple[NodeUpdate, ...]:
        """Return the version; one that was trained came of its run, which came of the rest."""
        ref = Ref(Kind.MODEL_VERSION, self.version)
        message = f"{self.version} is registered"
        facts = {"digest": self.digest, "total_bytes": self.total_bytes, "base": self.base}
        part = meta.part(self.seq, message, state="ready", **facts)
        if not self.run:
            return (NodeUpdate(ref=ref, part=part, sources=sources_of(ref, (ADAPTED, self.base))),)
        run = Ref(Kind.TRAINING_RUN, self.run)
        came_from = sources_of(run, (TRAINED_ON, self.dataset_version), (BASE_OF, self.base))
        return (
            NodeUpdate(ref=ref, part=part, sources=sources_of(ref, (REGISTERED, self.run))),
            NodeUpdate(ref=run, sources=came_from),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersionFailed:
    """model.version_failed."""

    version: str
    seq: int
    reason: str = ""
    message: str = ""

    def updates(self, meta: EventMeta) -> tuple[NodeUpdate, ...]:
        """Return the version that will never be loaded."""
        message = f"{self.version} is refused: {self.message or self.reason}"
        part = meta.part(self.seq, message, state="failed", reason=self.reason)
        return (NodeUpdate(ref=Ref(Kind.MODEL_VERSION, self.version), part=part),)


@dataclass(frozen=True, slots=True)
class ModelDeleted(Counted):
    """model.deleted: its versions stay in the history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The paired difference of one metric on one set of cases."""

    case_set: str
    metric: str
    cases: int = 0
    baseline: float = 0.0
    candidate: float = 0.0
    difference: float = 0.0
    low: float = 0.0
    high: float = 0.0
    required: bool = False
    gain_above: float = 0.0
    holds: bool = False

    @property
    def fact(self) -> str:
        """The numbers in one line: means, difference, interval, cases, and what was asked for."""
        asked = f", must be above {self.gain_above:g}: {'holds' if self.holds else 'does not hold'}"
        return (
            f"{self.baseline:.4f} -> {self.candidate:.4f}, difference {self.difference:+.4f} "
            f"[{self.low:+.4f}, {self.high:+.4f}], {self.cases} cases{asked if self.required else ''}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationEvent:
    """What all events of an evaluation have."""

    evaluation: str
    seq: int
    gate: str = ""
    deployment: str = ""
    candidate: str = ""
    baseline: str = ""
    baseline_configuration: str = ""

    def _updates(
        self, meta: EventMeta, message: str, *, held_out_of: str = "", **facts: object
    ) -> tuple[NodeUpdate, ...]:
        ref = Ref(Kind.EVALUATION, self.evaluation)
        known = {"gate": self.gate, "deployment": self.deployment, "candidate": self.candidate}
        against = {"baseline": self.baseline, "baseline_configuration": self.baseline_configuration}
        part = meta.part(self.seq, message, **known, **against, **facts)
        came_from = (
            (EVALUATED, self.candidate),
            (HELD_OUT_FOR, held_out_of),
            (COMPARED, self.deployment),
        )
        return (NodeUpdate(ref=ref, part=part, sources=sources_of(ref, *came_from)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationStarted(EvaluationEvent):
    """evaluation.started."""

    dataset_version: str = ""

    def updates(self, meta: EventMeta) -> tuple[NodeUpdate, ...]:
        """Return the evaluation."""
        message = f"{self.candidate} is compared with what is live"
        return self._updates(meta, message, held_out_of=self.dataset_version, state="running")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationCompleted(EvaluationEvent):
    """evaluation.completed."""

    verdict: str = ""
    comparisons: tuple[Comparison, ...] = ()

    def updates(self, meta: EventMeta) -> tuple[NodeUpdate, ...]:
        """Return the verdict with its numbers."""
        verdict = word_of(self.verdict, "VERDICT_")
        gate = f" the gate {self.gate}" if self.gate else ""
        says = {"passed": f"passes{gate}", "failed": f"fails{gate}"}.get(verdict, "is evaluated")
        asked = sorted((each for each in self.comparisons if each.required), key=lambda each: each.holds)
        numbers = f": {asked[0].metric} {asked[0].fact}" if asked else ""
        facts = {f"{each.metric} on {each.case_set}": each.fact for each in self.comparisons[:MAX_COMPARISONS]}
        return self._updates(meta, f"{self.candidate} {says}{numbers}", state="completed", verdict=verdict, **facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationFailed(EvaluationEvent):
    """evaluation.failed."""

    reason: str = ""
    message: str = ""

    def updates(self, meta: EventMeta) -> tuple[NodeUpdate, ...]:
        """Return the evaluation that came to no verdict."""
        message = f"the evaluation of {self.candidate} came to no verdict: {self.message or self.reason}"
        return self._updates(meta, message, state="failed", reason=self.reason)
