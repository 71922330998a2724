"""What events of feedback, trainer and evaluator add to the graph."""

from tidemill_monitor.events.evaluator import (
    Comparison,
    EvaluationCompleted,
    EvaluationEvent,
    EvaluationFailed,
    EvaluationStarted,
)
from tidemill_monitor.events.feedback import CurationCompleted, FeedbackRecorded, FeedbackWithdrawn
from tidemill_monitor.events.meta import EventMeta, word_of
from tidemill_monitor.events.trainer import (
    ModelVersionFailed,
    ModelVersionRegistered,
    RunExamples,
    RunFailed,
    RunQueued,
    RunSucceeded,
)
from tidemill_monitor.lineage.domain.graph import Fact, NodeUpdate, Ref
from tidemill_monitor.lineage.domain.kinds import (
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
from tidemill_monitor.lineage.domain.parts import Updates, curation_ref, event_part, sources_of, state_part, updates_of

MAX_COMPARISONS = 50
"""Of one evaluation's evidence, so that its node stays small."""


@updates_of.register
def _(event: FeedbackRecorded, meta: EventMeta) -> Updates:
    ref = Ref(Kind.FEEDBACK, event.feedback)
    part = state_part(
        meta,
        event.seq,
        deployment=event.deployment,
        metric=event.metric,
        number=event.number,
        rater=event.rater,
        variant=event.variant,
    )
    return (NodeUpdate(ref=ref, part=part, sources=sources_of(ref, (REACTED_TO, event.inference))),)


@updates_of.register
def _(event: FeedbackWithdrawn, meta: EventMeta) -> Updates:
    ref = Ref(Kind.FEEDBACK, event.feedback)
    facts = {"deployment": event.deployment, "metric": event.metric, "rater": event.rater}
    part = state_part(meta, event.seq, withdrawn=True, **facts)
    return (NodeUpdate(ref=ref, part=part, sources=sources_of(ref, (REACTED_TO, event.inference))),)


@updates_of.register
def _(event: CurationCompleted, meta: EventMeta) -> Updates:
    ref = curation_ref(event.curation, event.seq)
    message = f"there are enough examples: {event.batch.examples}, {event.new_examples} of them new"
    part = event_part(
        meta,
        event.seq,
        message,
        examples=event.batch.examples,
        dataset=event.dataset,
        deployment=event.deployment,
        new_examples=event.new_examples,
    )
    return (NodeUpdate(ref=ref, part=part, sources=sources_of(ref, (CURATED, event.deployment))),)


@updates_of.register
def _(event: RunQueued, meta: EventMeta) -> Updates:
    ref = Ref(Kind.TRAINING_RUN, event.run)
    message = f"training of {event.plan} on {event.dataset_version} waits for its turn"
    part = event_part(meta, event.seq, message, state="queued", plan=event.plan, dataset_version=event.dataset_version)
    came_from = sources_of(ref, (TRAINED_ON, event.dataset_version), (BASE_OF, event.base))
    return (NodeUpdate(ref=ref, part=part, sources=came_from),)


def _counts(event: RunExamples) -> str:
    """Return the counts in words."""
    left_out = {"too long": event.too_long, "refused by the base": event.refused, "empty": event.empty}
    why = ", ".join(f"{count} {words}" for words, count in left_out.items() if count)
    return f"{event.fitted} of {event.offered}" + (f" ({why})" if why else "")


@updates_of.register
def _(event: RunSucceeded, meta: EventMeta) -> Updates:
    ref = Ref(Kind.TRAINING_RUN, event.run)
    seconds = float(event.time.removesuffix("s") or 0)
    loss = "" if event.loss is None else f", loss {event.loss:.4g}"
    examples = "" if event.examples is None else _counts(event.examples)
    message = f"{event.model_version} is trained: {seconds:.0f} s{loss}" + (
        f", examples {examples}" if examples else ""
    )
    named = {"plan": event.plan, "dataset_version": event.dataset_version, "model_version": event.model_version}
    facts = named | {"examples": examples}
    part = event_part(meta, event.seq, message, state="succeeded", seconds=seconds, loss=event.loss, **facts)
    run = NodeUpdate(ref=ref, part=part, sources=sources_of(ref, (TRAINED_ON, event.dataset_version)))
    if not event.model_version:
        return (run,)
    model = Ref(Kind.MODEL_VERSION, event.model_version)
    of_model = event_part(meta, event.seq, examples=examples) if examples else None
    return (run, NodeUpdate(ref=model, part=of_model, sources=sources_of(model, (REGISTERED, event.run))))


@updates_of.register
def _(event: RunFailed, meta: EventMeta) -> Updates:
    ref = Ref(Kind.TRAINING_RUN, event.run)
    message = f"training of {event.plan} made nothing: {event.message or event.reason}"
    facts = {"plan": event.plan, "dataset_version": event.dataset_version, "reason": event.reason}
    part = event_part(meta, event.seq, message, state="failed", **facts)
    return (NodeUpdate(ref=ref, part=part, sources=sources_of(ref, (TRAINED_ON, event.dataset_version))),)


@updates_of.register
def _(event: ModelVersionRegistered, meta: EventMeta) -> Updates:
    ref = Ref(Kind.MODEL_VERSION, event.version)
    message = f"{event.version} is registered"
    facts = {"state": "ready", "digest": event.digest, "base": event.base}
    part = event_part(meta, event.seq, message, total_bytes=event.total_bytes, **facts)
    if not event.run:
        return (NodeUpdate(ref=ref, part=part, sources=sources_of(ref, (ADAPTED, event.base))),)
    run = Ref(Kind.TRAINING_RUN, event.run)
    came_from = sources_of(run, (TRAINED_ON, event.dataset_version), (BASE_OF, event.base))
    return (
        NodeUpdate(ref=ref, part=part, sources=sources_of(ref, (REGISTERED, event.run))),
        NodeUpdate(ref=run, sources=came_from),
    )


@updates_of.register
def _(event: ModelVersionFailed, meta: EventMeta) -> Updates:
    message = f"{event.version} is refused: {event.message or event.reason}"
    part = event_part(meta, event.seq, message, state="failed", reason=event.reason)
    return (NodeUpdate(ref=Ref(Kind.MODEL_VERSION, event.version), part=part),)


def _compared(event: Comparison) -> str:
    """Return the numbers in one line: means, difference, interval, cases, and what was asked for."""
    asked = f", must be above {event.gain_above:g}: {'holds' if event.holds else 'does not hold'}"
    return (
        f"{event.baseline:.4f} -> {event.candidate:.4f}, difference {event.difference:+.4f} "
        f"[{event.low:+.4f}, {event.high:+.4f}], {event.cases} cases{asked if event.required else ''}"
    )


def _evaluation(
    event: EvaluationEvent, meta: EventMeta, message: str, *, held_out_of: str = "", **facts: Fact | None
) -> Updates:
    ref = Ref(Kind.EVALUATION, event.evaluation)
    known = {"gate": event.gate, "deployment": event.deployment, "candidate": event.candidate}
    against = {"baseline": event.baseline, "baseline_configuration": event.baseline_configuration}
    part = event_part(meta, event.seq, message, **known, **against, **facts)
    came_from = (
        (EVALUATED, event.candidate),
        (HELD_OUT_FOR, held_out_of),
        (COMPARED, event.deployment),
    )
    return (NodeUpdate(ref=ref, part=part, sources=sources_of(ref, *came_from)),)


@updates_of.register
def _(event: EvaluationStarted, meta: EventMeta) -> Updates:
    message = f"{event.candidate} is compared with what is live"
    return _evaluation(event, meta, message, held_out_of=event.dataset_version, state="running")


@updates_of.register
def _(event: EvaluationCompleted, meta: EventMeta) -> Updates:
    verdict = word_of(event.verdict, "VERDICT_")
    gate = f" the gate {event.gate}" if event.gate else ""
    says = {"passed": f"passes{gate}", "failed": f"fails{gate}"}.get(verdict, "is evaluated")
    asked = sorted((each for each in event.comparisons if each.required), key=lambda each: each.holds)
    numbers = f": {asked[0].metric} {_compared(asked[0])}" if asked else ""
    facts = {f"{each.metric} on {each.case_set}": _compared(each) for each in event.comparisons[:MAX_COMPARISONS]}
    return _evaluation(event, meta, f"{event.candidate} {says}{numbers}", state="completed", verdict=verdict, **facts)


@updates_of.register
def _(event: EvaluationFailed, meta: EventMeta) -> Updates:
    message = f"the evaluation of {event.candidate} came to no verdict: {event.message or event.reason}"
    return _evaluation(event, meta, message, state="failed", reason=event.reason)
