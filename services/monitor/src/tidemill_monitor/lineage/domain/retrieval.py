"""What retrieval evaluations add to the graph."""

from tidemill_monitor.events import evaluator
from tidemill_monitor.events.meta import EventMeta, version_id
from tidemill_monitor.lineage.domain import kinds
from tidemill_monitor.lineage.domain.graph import Fact, Ref
from tidemill_monitor.lineage.domain.kinds import Kind
from tidemill_monitor.lineage.domain.parts import Updates, event_part, update, updates_of


def _retrieval_evaluation(
    event: evaluator.RetrievalEvaluationEvent, meta: EventMeta, *fields: str, **facts: Fact | None
) -> Updates:
    indexes = sorted({event.baseline_index, event.candidate_index} - {0})
    sources = [(kinds.MEASURED, version_id(event.collection, index)) for index in indexes]
    suite = version_id(event.suite, event.suite_version) if event.suite_version else event.suite
    part = event_part(meta, event, "", "collection", *fields, suite=suite, **facts)
    return (update(Ref(Kind.RETRIEVAL_EVALUATION, event.evaluation), part, *sources),)


@updates_of.register
def _(event: evaluator.RetrievalEvaluationStarted, meta: EventMeta) -> Updates:
    return _retrieval_evaluation(event, meta, state="running")


@updates_of.register
def _(event: evaluator.RetrievalEvaluationCompleted, meta: EventMeta) -> Updates:
    paired = bool(event.candidate_index)
    facts: dict[str, Fact | None] = {each.metric: _figures(each, paired=paired) for each in event.measures}
    return _retrieval_evaluation(event, meta, state="completed", **facts)


@updates_of.register
def _(event: evaluator.RetrievalEvaluationFailed, meta: EventMeta) -> Updates:
    return _retrieval_evaluation(event, meta, "reason", state="failed")


def _figures(measure: evaluator.RetrievalMeasure, *, paired: bool) -> str:
    """Return the numbers in one line."""
    if not paired:
        return f"{measure.baseline:.4f} [{measure.low:.4f}, {measure.high:.4f}], {measure.questions} questions"
    return (
        f"{measure.baseline:.4f} -> {measure.candidate:.4f}, difference {measure.difference:+.4f} "
        f"[{measure.low:+.4f}, {measure.high:+.4f}], {measure.questions} questions"
    )
