"""Count the events of loops."""

from tidemill_core.application import Caller
from tidemill_monitor.events.evaluator import EvaluationCompleted, EvaluationFailed
from tidemill_monitor.events.feedback import FeedbackRecorded
from tidemill_monitor.events.inference import InferenceCompleted, InferenceFailed
from tidemill_monitor.events.meta import EventMeta, word_of
from tidemill_monitor.metrics import ANSWERS, LOOP_EVENTS, NO_VERDICTS, REACTIONS, TOKENS, VERDICTS

OTHERS = "others"
"""Stands for the projects and words beyond those that get a label of their own."""

_PURPOSES = frozenset({"live", "shadow", "evaluation"})
_VARIANTS = frozenset({"live", "candidate"})
_METRICS = frozenset({"rating", "comment", "correction", "preference"})
_VERDICTS = frozenset({"passed", "failed", "none", "worse", "not_worse"})
_REASONS = frozenset(
    {
        "JUDGE_DRIFTED",
        "JUDGE_CHANGED",
        "JUDGE_UNRELIABLE",
        "JUDGE_UNAVAILABLE",
        "JUDGE_UNMEASURED",
        "JUDGE_DISAGREES",
        "TOO_FEW_ANSWERS",
        "NOT_COMPARABLE",
        "CANCELLED",
    }
)
"""Of evaluations without a verdict: those that may ask for an operator; others are counted together."""


class CountEvent:
    """Counts an event in the metrics; redelivered ones count again.

    The first `max_projects` get labels, which bounds the number of series. The counters of a project's evaluations
    begin with 0 at its first event: `increase()` of one that begins with 1 misses that one.
    """

    def __init__(self, *, max_projects: int) -> None:
        self._max_projects = max_projects
        self._projects: set[str] = set()
        _begin_evaluations(OTHERS)

    def __call__(self, caller: Caller, meta: EventMeta, body: object) -> None:
        """Count an event."""
        label = self._label(caller.project)
        LOOP_EVENTS.labels(label, meta.type).inc()
        if isinstance(body, InferenceCompleted | InferenceFailed):
            purpose = _known(word_of(body.purpose, "PURPOSE_"), _PURPOSES)
            outcome = "completed" if isinstance(body, InferenceCompleted) else "failed"
            ANSWERS.labels(label, purpose, _known(body.variant.name, _VARIANTS), outcome).inc()
        if isinstance(body, InferenceCompleted):
            TOKENS.labels(label, "input").inc(max(0, body.usage.input_tokens))
            TOKENS.labels(label, "output").inc(max(0, body.usage.output_tokens))
        elif isinstance(body, FeedbackRecorded) and body.counts is not False and not body.absent:
            REACTIONS.labels(label, _known(body.metric, _METRICS)).inc()
        elif isinstance(body, EvaluationCompleted):
            VERDICTS.labels(label, _known(word_of(body.verdict, "VERDICT_"), _VERDICTS)).inc()
        elif isinstance(body, EvaluationFailed):
            NO_VERDICTS.labels(label, _known(body.reason, _REASONS)).inc()

    def _label(self, project: str) -> str:
        if project in self._projects:
            return project
        if len(self._projects) >= self._max_projects:
            return OTHERS
        self._projects.add(project)
        _begin_evaluations(project)
        return project


def _begin_evaluations(label: str) -> None:
    for verdict in _VERDICTS:
        VERDICTS.labels(label, verdict)
    for reason in (*_REASONS, OTHERS):
        NO_VERDICTS.labels(label, reason)


def _known(word: str, words: frozenset[str]) -> str:
    return word if word in words else OTHERS
