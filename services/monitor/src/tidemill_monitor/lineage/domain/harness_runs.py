"""What runs of public harnesses add to the graph."""

from tidemill_monitor.events import evaluator
from tidemill_monitor.events.meta import EventMeta, word_of
from tidemill_monitor.lineage.domain import kinds
from tidemill_monitor.lineage.domain.graph import Fact, Ref
from tidemill_monitor.lineage.domain.kinds import Kind
from tidemill_monitor.lineage.domain.parts import Updates, event_part, update, updates_of


@updates_of.register
def _(event: evaluator.HarnessRunRecorded, meta: EventMeta) -> Updates:
    tool = word_of(event.tool, "HARNESS_TOOL_").replace("_", "-")
    passed: Fact | None = f"{event.passed} of {event.total}" if event.total else None
    says = f"passed {passed} tests" if passed else f"had no scores: {event.reason}"
    facts: dict[str, Fact | None] = {
        "tool": tool,
        "state": word_of(event.state, "HARNESS_RUN_STATE_"),
        "passed": passed,
    }
    fields = ("tool_version", "deployment", "configuration", "model", "reason")
    part = event_part(meta, event, f"{event.deployment} {says} by {tool}", *fields, **facts)
    sources = ((kinds.PROBED, event.model), (kinds.PROBED_DEPLOYMENT, event.deployment))
    return (update(Ref(Kind.HARNESS_RUN, event.run), part, *sources),)
