"""Metrics of the loops; lag and dead letters are the kit's."""

from collections.abc import Mapping

from prometheus_client import Counter, Gauge

from tidemill_monitor.domain.events import EventBody, EventMeta
from tidemill_monitor.domain.inference_events import InferenceCompleted, InferenceFailed, word_of
from tidemill_monitor.domain.kinds import Kind
from tidemill_monitor.domain.loop_events import EvaluationCompleted, FeedbackRecorded

LOOP_EVENTS = Counter("tidemill_loop_events", "Events of loops, by type.", ["project", "type"])
ANSWERS = Counter(
    "tidemill_loop_answers", "Answers, by why they were asked, what answered, and outcome.",
    ["project", "purpose", "variant", "outcome"],
)  # fmt: skip
TOKENS = Counter("tidemill_loop_tokens", "Tokens of completed answers.", ["project", "direction"])
REACTIONS = Counter("tidemill_loop_reactions", "Reactions that count, by metric.", ["project", "metric"])
VERDICTS = Counter("tidemill_loop_verdicts", "Evaluations that came to a verdict.", ["project", "verdict"])
NODES = Gauge("tidemill_lineage_nodes", "Things in the history, by kind.", ["kind"])
FORGOTTEN = Counter("tidemill_lineage_forgotten", "Answers that were forgotten because of their age.")

OTHERS = "others"
"""Stands for the projects and words beyond those that get a label of their own."""

_PURPOSES = frozenset({"live", "shadow", "evaluation"})
_VARIANTS = frozenset({"live", "candidate"})
_METRICS = frozenset({"rating", "comment", "correction"})
_VERDICTS = frozenset({"passed", "failed", "none"})


class LoopMetrics:
    """Counts events as they are handled; redelivered ones count again.

    The first `max_projects` get labels, which bounds the number of series.
    """

    def __init__(self, *, max_projects: int) -> None:
        self._max_projects = max_projects
        self._projects: set[str] = set()

    def count(self, project: str, meta: EventMeta, body: EventBody) -> None:
        """Count an event."""
        label = self._label(project)
        LOOP_EVENTS.labels(label, meta.type).inc()
        if isinstance(body, InferenceCompleted | InferenceFailed):
            purpose = _known(word_of(body.purpose, "PURPOSE_"), _PURPOSES)
            outcome = "completed" if isinstance(body, InferenceCompleted) else "failed"
            ANSWERS.labels(label, purpose, _known(body.variant.name, _VARIANTS), outcome).inc()
        if isinstance(body, InferenceCompleted):
            TOKENS.labels(label, "input").inc(max(0, body.usage.input_tokens))
            TOKENS.labels(label, "output").inc(max(0, body.usage.output_tokens))
        elif isinstance(body, FeedbackRecorded):
            REACTIONS.labels(label, _known(body.metric, _METRICS)).inc()
        elif isinstance(body, EvaluationCompleted):
            VERDICTS.labels(label, _known(word_of(body.verdict, "VERDICT_"), _VERDICTS)).inc()

    def added(self, new: Mapping[Kind, int]) -> None:
        """Count things that are new."""
        for kind, number in new.items():
            NODES.labels(kind.value).inc(number)

    def counted(self, counts: Mapping[Kind, int]) -> None:
        """Take over what was counted in the store."""
        for kind, number in counts.items():
            NODES.labels(kind.value).set(number)

    def _label(self, project: str) -> str:
        if project in self._projects:
            return project
        if len(self._projects) >= self._max_projects:
            return OTHERS
        self._projects.add(project)
        return project


def _known(word: str, words: frozenset[str]) -> str:
    return word if word in words else OTHERS
