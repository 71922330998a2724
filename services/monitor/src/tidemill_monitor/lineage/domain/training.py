"""What events of feedback, trainer and evaluator add to the graph."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from tidemill_monitor.events import evaluator, feedback, trainer
from tidemill_monitor.events.meta import EventMeta, word_of
from tidemill_monitor.lineage.domain import kinds
from tidemill_monitor.lineage.domain.graph import Fact, Ref
from tidemill_monitor.lineage.domain.kinds import Kind
from tidemill_monitor.lineage.domain.parts import Updates, curation_ref, event_part, state_part, update, updates_of

MAX_COMPARISONS = 50
"""Of one evaluation's evidence, so that its node stays small."""
_WEIGHTS_BYTES, _EXPOSURE = "weights_bytes", "exposure"
_OF_VERSIONS = (_WEIGHTS_BYTES, _EXPOSURE)
"""The metrics of what the registry knows of both sides, which are said where nothing else decided."""


@updates_of.register
def _(event: feedback.FeedbackRecorded, meta: EventMeta) -> Updates:
    ref = Ref(Kind.FEEDBACK, event.feedback)
    part = state_part(meta, event, "deployment", "metric", "number", "rater", "variant")
    return (update(ref, part, (kinds.REACTED_TO, event.inference)),)


@updates_of.register
def _(event: feedback.FeedbackWithdrawn, meta: EventMeta) -> Updates:
    ref = Ref(Kind.FEEDBACK, event.feedback)
    part = state_part(meta, event, "deployment", "metric", "rater", withdrawn=True)
    return (update(ref, part, (kinds.REACTED_TO, event.inference)),)


@updates_of.register
def _(event: feedback.CurationCompleted, meta: EventMeta) -> Updates:
    ref = curation_ref(event.curation, event.seq)
    message = f"there are enough examples: {event.batch.examples}, {event.new_examples} of them new"
    part = event_part(meta, event, message, "dataset", "deployment", "new_examples", examples=event.batch.examples)
    return (update(ref, part, (kinds.CURATED, event.deployment)),)


@updates_of.register
def _(event: trainer.RunQueued, meta: EventMeta) -> Updates:
    ref = Ref(Kind.TRAINING_RUN, event.run)
    message = f"training of {event.plan} on {event.dataset_version} waits for its turn"
    part = event_part(meta, event, message, "plan", "dataset_version", state="queued")
    models = [(kinds.BASE_OF, event.base), *((kinds.REWARDED, each) for each in event.reward_models)]
    models += [(kinds.TAUGHT, event.teacher), (kinds.JUDGED, event.judge_version)]
    return (update(ref, part, (kinds.TRAINED_ON, event.dataset_version), *models),)


def text_of(fact: Mapping[str, Any]) -> str:
    """Return numbers that belong together in words."""
    if "offered" in fact:
        return _counts(trainer.RunExamples(**_known(trainer.RunExamples, fact)))
    return _compared(evaluator.Comparison(**_known(evaluator.Comparison, fact)))


def _known(kind: type[Any], fact: Mapping[str, Any]) -> dict[str, Any]:
    """Return what this version knows of a fact, which a newer one may have stored."""
    return {each.name: fact[each.name] for each in fields(kind) if each.name in fact}


def _counts(event: trainer.RunExamples) -> str:
    """Return the counts in words."""
    left_out = {"too long": event.too_long, "refused by the base": event.refused, "empty": event.empty}
    why = ", ".join(f"{count} {words}" for words, count in left_out.items() if count)
    return f"{event.fitted} of {event.offered}" + (f" ({why})" if why else "")


@updates_of.register
def _(event: trainer.RunSucceeded, meta: EventMeta) -> Updates:
    ref = Ref(Kind.TRAINING_RUN, event.run)
    seconds = float(event.time.removesuffix("s") or 0)
    loss = "" if event.loss is None else f", loss {event.loss:.4g}"
    examples = asdict(event.examples) if event.examples else None
    of_examples = f", examples {text_of(examples)}" if examples else ""
    message = f"{event.model_version} is trained: {seconds:.0f} s{loss}{of_examples}"
    fields = ("plan", "dataset_version", "model_version", "loss")
    part = event_part(meta, event, message, *fields, state="succeeded", seconds=seconds, examples=examples)
    run = update(ref, part, (kinds.TRAINED_ON, event.dataset_version))
    if not event.model_version:
        return (run,)
    model = Ref(Kind.MODEL_VERSION, event.model_version)
    of_model = event_part(meta, event, "", examples=examples) if examples else None
    return (run, update(model, of_model, (kinds.REGISTERED, event.run)))


@updates_of.register
def _(event: trainer.RunFailed, meta: EventMeta) -> Updates:
    ref = Ref(Kind.TRAINING_RUN, event.run)
    message = f"training of {event.plan} produced no model version: {event.message or event.reason}"
    part = event_part(meta, event, message, "plan", "dataset_version", "reason", state="failed")
    return (update(ref, part, (kinds.TRAINED_ON, event.dataset_version)),)


@updates_of.register
def _(event: trainer.ModelVersionRegistered, meta: EventMeta) -> Updates:
    ref = Ref(Kind.MODEL_VERSION, event.version)
    message = f"{event.version} is registered"
    fields = ("digest", "total_bytes", "base", "derived_from", "finetuned_from")
    part = event_part(meta, event, message, *fields, state="ready")
    if event.derived_from:
        return (update(ref, part, (kinds.DERIVED, event.derived_from)),)
    if not event.run:
        return (update(ref, part, (kinds.ADAPTED, event.base)),)
    run, base = Ref(Kind.TRAINING_RUN, event.run), event.base or event.finetuned_from
    return (
        update(ref, part, (kinds.REGISTERED, event.run)),
        update(run, None, (kinds.TRAINED_ON, event.dataset_version), (kinds.BASE_OF, base)),
    )


@updates_of.register
def _(event: trainer.ModelVersionFailed, meta: EventMeta) -> Updates:
    message = f"{event.version} is refused: {event.message or event.reason}"
    part = event_part(meta, event, message, "reason", state="failed")
    return (update(Ref(Kind.MODEL_VERSION, event.version), part),)


def _compared(event: evaluator.Comparison) -> str:
    """Return the numbers in one line: means, difference, interval, cases, and what was asked for."""
    holds = "holds" if event.holds else "does not hold"
    asked = f", must be above {event.gain_above:g}: {holds}"
    if event.metric == _WEIGHTS_BYTES:
        return f"{event.baseline / 1e6:.1f} MB -> {event.candidate / 1e6:.1f} MB: {holds}"
    if event.metric == _EXPOSURE:
        measured = f"{event.candidate:.2f} bits of {event.cases} canaries" if event.cases else "not measured"
        return f"{measured}, at most {event.baseline - event.gain_above:.2f}: {holds}"
    return (
        f"{event.baseline:.4f} -> {event.candidate:.4f}, difference {event.difference:+.4f} "
        f"[{event.low:+.4f}, {event.high:+.4f}], {event.cases} cases{asked if event.required else ''}"
    )


def _evaluation(
    event: evaluator.EvaluationEvent, meta: EventMeta, message: str, *, held_out_of: str = "", **facts: Fact | None
) -> Updates:
    ref = Ref(Kind.EVALUATION, event.evaluation)
    compared = ("candidate", "baseline", "baseline_configuration", "collection", "prompt", "reevaluates")
    part = event_part(meta, event, message, "gate", "deployment", *compared, **facts)
    held_out = (kinds.HELD_OUT_FOR, held_out_of)
    of_prompt = kinds.EVALUATED_PROMPT if event.prompt else kinds.EVALUATED
    candidate = (kinds.EVALUATED_INDEX if event.collection else of_prompt, event.candidate)
    return (update(ref, part, candidate, held_out, (kinds.COMPARED, event.deployment)),)


@updates_of.register
def _(event: evaluator.EvaluationStarted, meta: EventMeta) -> Updates:
    message = f"{event.candidate} is compared with what is live"
    if event.reevaluates:
        message = f"{event.candidate}, which is live, is compared with what it answered when it passed"
    return _evaluation(event, meta, message, held_out_of=event.dataset_version, state="running")


@updates_of.register
def _(event: evaluator.EvaluationCompleted, meta: EventMeta) -> Updates:
    verdict = word_of(event.verdict, "VERDICT_")
    gate = f" the gate {event.gate}" if event.gate else ""
    says = {
        "passed": f"passes{gate}",
        "failed": f"fails{gate}",
        "worse": "got worse",
        "not_worse": "did not get worse",
    }.get(verdict, "is evaluated")
    required = (each for each in event.comparisons if each.required)
    asked = sorted(required, key=lambda each: (each.holds, each.metric in _OF_VERSIONS))
    numbers = f": {asked[0].metric} {_compared(asked[0])}" if asked else ""
    facts: dict[str, Any] = {
        f"{each.metric} on {each.case_set}": asdict(each) for each in event.comparisons[:MAX_COMPARISONS]
    }
    return _evaluation(event, meta, f"{event.candidate} {says}{numbers}", state="completed", verdict=verdict, **facts)


@updates_of.register
def _(event: evaluator.EvaluationFailed, meta: EventMeta) -> Updates:
    what = "re-evaluation" if event.reevaluates else "evaluation"
    message = f"the {what} of {event.candidate} came to no verdict: {event.message or event.reason}"
    return _evaluation(event, meta, message, state="failed", reason=event.reason)
