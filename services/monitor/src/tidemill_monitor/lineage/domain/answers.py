"""What events of inference add to the graph."""

from tidemill_monitor.events import inference
from tidemill_monitor.events.meta import EventMeta, version_id, word_of
from tidemill_monitor.lineage.domain import kinds
from tidemill_monitor.lineage.domain.graph import Fact, Ref
from tidemill_monitor.lineage.domain.kinds import Kind
from tidemill_monitor.lineage.domain.parts import Updates, event_part, state_part, update, updates_of


def _made_by(variant: inference.Variant) -> tuple[tuple[kinds.Relation, str], ...]:
    """Return what made the answer: only a candidate's answers came of its rollout."""
    rollout = variant.rollout if variant.name == inference.CANDIDATE else ""
    prompt = variant.prompt if "@" in variant.prompt else ""  # one that was not saved has a digest alone
    return (kinds.ANSWERED, variant.model), (kinds.PROMPTED, prompt), (kinds.ANSWERED_IN, rollout)


def _variant_facts(variant: inference.Variant) -> dict[str, Fact | None]:
    """Return the facts of the answer's node."""
    return {
        "variant": variant.name,
        "experiment": variant.experiment,
        "configuration": variant.configuration,
        "model": variant.model,
        "prompt": variant.prompt,
        "index": variant.index or None,
    }


@updates_of.register
def _(event: inference.InferenceCompleted, meta: EventMeta) -> Updates:
    ref = Ref(Kind.INFERENCE, event.inference)
    born = EventMeta(type=meta.type, time=event.create_time or meta.time)
    part = state_part(
        born,
        event,
        "deployment",
        "finish_reason",
        "citations",
        "citation_valid",
        state="completed",
        purpose=word_of(event.purpose, "PURPOSE_"),
        input_tokens=event.usage.input_tokens,
        output_tokens=event.usage.output_tokens,
        total=event.usage.total,
        **_variant_facts(event.variant),
    )
    given = [
        (kinds.CITED_BY if each.cited else kinds.GIVEN_TO, version_id(each.document, each.version))
        for each in event.documents
    ]
    shown = (kinds.SHOWN_TO, event.examples.dataset)
    return (update(ref, part, *_made_by(event.variant), shown, *given),)


@updates_of.register
def _(event: inference.InferenceFailed, meta: EventMeta) -> Updates:
    """Return the answer that was not given; what should have given it are facts of it.

    It came of nothing: the same request may be answered later, by another variant.
    """
    ref = Ref(Kind.INFERENCE, event.inference)
    facts = _variant_facts(event.variant) | {"purpose": word_of(event.purpose, "PURPOSE_")}
    part = state_part(meta, event, "reason", "deployment", state="failed", **facts)
    return (update(ref, part),)


@updates_of.register
def _(event: inference.InferenceCancelled, meta: EventMeta) -> Updates:
    part = state_part(meta, event, "deployment", state="cancelled")
    return (update(Ref(Kind.INFERENCE, event.inference), part),)


@updates_of.register
def _(event: inference.DeploymentConfigured, meta: EventMeta) -> Updates:
    message = f"{event.model} with {event.prompt} answers"
    named = ("configuration", "model", "prompt", "replaced", "examples_dataset")
    part = event_part(meta, event, message, *named, state="live")
    return (update(Ref(Kind.DEPLOYMENT, event.deployment), part),)


@updates_of.register
def _(event: inference.DeploymentDeleted, meta: EventMeta) -> Updates:
    part = event_part(meta, event, "the deployment is deleted", state="deleted")
    return (update(Ref(Kind.DEPLOYMENT, event.deployment), part),)


@updates_of.register
def _(event: inference.ExperimentStarted, meta: EventMeta) -> Updates:
    arms = ", ".join(f"{arm.name} with {arm.weight} %" for arm in event.arms)
    part = event_part(meta, event, f"experiment {event.experiment} begins: {arms}")
    return (update(Ref(Kind.DEPLOYMENT, event.deployment), part),)


@updates_of.register
def _(event: inference.ExperimentEnded, meta: EventMeta) -> Updates:
    found = f"{event.best} is the best arm" if event.best else event.message or event.reason
    part = event_part(meta, event, f"experiment {event.experiment} ends: {found}")
    return (update(Ref(Kind.DEPLOYMENT, event.deployment), part),)


@updates_of.register
def _(event: inference.RemoteModelChanged, meta: EventMeta) -> Updates:
    said = f"{event.provider_model} {event.system_fingerprint}".strip()
    before = f"{event.previous_provider_model} {event.previous_system_fingerprint}".strip()
    named = ("provider_model", "system_fingerprint", "previous_provider_model", "previous_system_fingerprint")
    part = event_part(
        meta, event, f"the provider of {event.model} answers as {said}; new before it was {before}", *named
    )
    return (update(Ref(Kind.MODEL_VERSION, event.model), part),)


@updates_of.register
def _(event: inference.PromptVersionCreated, meta: EventMeta) -> Updates:
    version = version_id(event.prompt, event.version)
    part = event_part(meta, event, f"{version} is written", "digest", state="ready")
    return (update(Ref(Kind.PROMPT_VERSION, version), part, (kinds.CAME_INTO, event.origin)),)


def _rollout(event: inference.RolloutEvent, meta: EventMeta, message: str, **facts: Fact | None) -> Updates:
    ref = Ref(Kind.ROLLOUT, event.rollout)
    part = event_part(meta, event, message, "deployment", "candidate", "configuration", **facts)
    of = (kinds.ROLLED_OUT, event.candidate)
    if event.prompt:
        of = (kinds.ROLLED_OUT_PROMPT, event.prompt)
    if event.collection:
        of = (kinds.ROLLED_OUT_INDEX, version_id(event.collection, event.index))
    return (update(ref, part, (kinds.ALLOWED, event.evaluation), of, (kinds.ROLLS_OUT, event.deployment)),)


@updates_of.register
def _(event: inference.RolloutStarted, meta: EventMeta) -> Updates:
    message = f"the rollout of {event.named} begins"
    return _rollout(event, meta, message, state="started", baseline_configuration=event.baseline_configuration)


@updates_of.register
def _(event: inference.RolloutAdvanced, meta: EventMeta) -> Updates:
    state = word_of(event.state, "ROLLOUT_STATE_")
    share = f", {event.weight} % of the requests" if event.weight else ""
    why = f": {event.message}" if event.message else ""
    message = f"{state}, step {event.step + 1}{share}{why}"
    return _rollout(event, meta, message, state=state, step=event.step, weight=event.weight)


@updates_of.register
def _(event: inference.RolloutPromoted, meta: EventMeta) -> Updates:
    message = f"{event.named} is promoted and live: {event.message or event.reason}"
    return _rollout(event, meta, message, state="promoted", weight=100, reason=event.reason, replaced=event.replaced)


@updates_of.register
def _(event: inference.RolloutRolledBack, meta: EventMeta) -> Updates:
    message = f"{event.named} is rolled back: {event.message or event.reason}"
    return _rollout(event, meta, message, state="rolled_back", weight=0, reason=event.reason)


@updates_of.register
def _(event: inference.RolloutRefused, meta: EventMeta) -> Updates:
    message = f"no rollout of {event.named}: {event.message or event.reason}"
    return _rollout(event, meta, message, state="refused", reason=event.reason)
