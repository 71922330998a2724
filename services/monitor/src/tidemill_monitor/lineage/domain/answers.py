"""What events of inference add to the graph."""

from tidemill_monitor.events.inference import (
    CANDIDATE,
    DeploymentConfigured,
    DeploymentDeleted,
    InferenceCancelled,
    InferenceCompleted,
    InferenceFailed,
    RolloutAdvanced,
    RolloutEvent,
    RolloutPromoted,
    RolloutRefused,
    RolloutRolledBack,
    RolloutStarted,
    Variant,
)
from tidemill_monitor.events.meta import EventMeta, version_id, word_of
from tidemill_monitor.lineage.domain.graph import Edge, Fact, NodeUpdate, Ref
from tidemill_monitor.lineage.domain.kinds import (
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
from tidemill_monitor.lineage.domain.parts import Updates, event_part, sources_of, state_part, updates_of


def _made_by(variant: Variant, inference: Ref) -> tuple[Edge, ...]:
    """Return what made the answer: only a candidate's answers came of its rollout."""
    rollout = variant.rollout if variant.name == CANDIDATE else ""
    made_by = ((ANSWERED, variant.model), (PROMPTED, variant.prompt), (ANSWERED_IN, rollout))
    return sources_of(inference, *made_by)


def _variant_facts(variant: Variant) -> dict[str, Fact | None]:
    """Return the facts of the answer's node."""
    return {
        "variant": variant.name,
        "configuration": variant.configuration,
        "model": variant.model,
        "prompt": variant.prompt,
        "index": variant.index or None,
    }


@updates_of.register
def _(event: InferenceCompleted, meta: EventMeta) -> Updates:
    ref = Ref(Kind.INFERENCE, event.inference)
    born = EventMeta(type=meta.type, time=event.create_time or meta.time)
    part = state_part(
        born,
        event.seq,
        state="completed",
        deployment=event.deployment,
        purpose=word_of(event.purpose, "PURPOSE_"),
        input_tokens=event.usage.input_tokens,
        output_tokens=event.usage.output_tokens,
        total=event.usage.total,
        finish_reason=event.finish_reason,
        citations=event.citations,
        citation_valid=event.citation_valid,
        **_variant_facts(event.variant),
    )
    given = [
        (CITED_BY if each.cited else GIVEN_TO, version_id(each.document, each.version)) for each in event.documents
    ]
    return (NodeUpdate(ref=ref, part=part, sources=_made_by(event.variant, ref) + sources_of(ref, *given)),)


@updates_of.register
def _(event: InferenceFailed, meta: EventMeta) -> Updates:
    """Return the answer that was not given; what should have given it are facts of it.

    It came of nothing: the same request may be answered later, by another variant.
    """
    ref = Ref(Kind.INFERENCE, event.inference)
    part = state_part(
        meta,
        event.seq,
        state="failed",
        reason=event.reason,
        deployment=event.deployment,
        purpose=word_of(event.purpose, "PURPOSE_"),
        **_variant_facts(event.variant),
    )
    return (NodeUpdate(ref=ref, part=part),)


@updates_of.register
def _(event: InferenceCancelled, meta: EventMeta) -> Updates:
    part = state_part(meta, event.seq, state="cancelled", deployment=event.deployment)
    return (NodeUpdate(ref=Ref(Kind.INFERENCE, event.inference), part=part),)


@updates_of.register
def _(event: DeploymentConfigured, meta: EventMeta) -> Updates:
    message = f"{event.model} with {event.prompt} answers"
    facts = {"configuration": event.configuration, "model": event.model, "prompt": event.prompt}
    part = event_part(meta, event.seq, message, state="live", replaced=event.replaced, **facts)
    return (NodeUpdate(ref=Ref(Kind.DEPLOYMENT, event.deployment), part=part),)


@updates_of.register
def _(event: DeploymentDeleted, meta: EventMeta) -> Updates:
    part = event_part(meta, event.seq, "the deployment is deleted", state="deleted")
    return (NodeUpdate(ref=Ref(Kind.DEPLOYMENT, event.deployment), part=part),)


def _rollout(event: RolloutEvent, meta: EventMeta, message: str, **facts: Fact | None) -> Updates:
    ref = Ref(Kind.ROLLOUT, event.rollout)
    part = event_part(
        meta,
        event.seq,
        message,
        deployment=event.deployment,
        candidate=event.candidate,
        configuration=event.configuration,
        **facts,
    )
    came_from = ((ALLOWED, event.evaluation), (ROLLED_OUT, event.candidate), (ROLLS_OUT, event.deployment))
    return (NodeUpdate(ref=ref, part=part, sources=sources_of(ref, *came_from)),)


@updates_of.register
def _(event: RolloutStarted, meta: EventMeta) -> Updates:
    message = f"the rollout of {event.candidate} begins"
    return _rollout(event, meta, message, state="started", baseline_configuration=event.baseline_configuration)


@updates_of.register
def _(event: RolloutAdvanced, meta: EventMeta) -> Updates:
    state = word_of(event.state, "ROLLOUT_STATE_")
    share = f", {event.weight} % of the requests" if event.weight else ""
    why = f": {event.message}" if event.message else ""
    message = f"{state}, step {event.step + 1}{share}{why}"
    return _rollout(event, meta, message, state=state, step=event.step, weight=event.weight)


@updates_of.register
def _(event: RolloutPromoted, meta: EventMeta) -> Updates:
    message = f"{event.candidate} is promoted and live: {event.message or event.reason}"
    return _rollout(event, meta, message, state="promoted", weight=100, reason=event.reason, replaced=event.replaced)


@updates_of.register
def _(event: RolloutRolledBack, meta: EventMeta) -> Updates:
    message = f"{event.candidate} is rolled back: {event.message or event.reason}"
    return _rollout(event, meta, message, state="rolled_back", weight=0, reason=event.reason)


@updates_of.register
def _(event: RolloutRefused, meta: EventMeta) -> Updates:
    message = f"no rollout of {event.candidate}: {event.message or event.reason}"
    return _rollout(event, meta, message, state="refused", reason=event.reason)
