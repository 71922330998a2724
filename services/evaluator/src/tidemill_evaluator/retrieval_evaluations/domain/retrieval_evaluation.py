"""A retrieval evaluation: what searches of a collection find, by one way of searching or by two."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tidemill_core.aggregate import Event
from tidemill_core.application import derived_id
from tidemill_evaluator.evaluations.domain.job import EvaluationJob, State
from tidemill_evaluator.gates.domain.gate import CONFIDENCE
from tidemill_evaluator.retrieval_evaluations.domain.results import RetrievalLatency, RetrievalMeasure
from tidemill_evaluator.suites.domain.cases import CaseSet

DEFAULT_DEPTH = 10
PASSAGES_PER_DOCUMENT = 4
"""So many passages are searched for each document of the depth, as several may be of one; a search has 100 at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalEvaluationHasStarted(Event):
    """Questions, index versions and settings are pinned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalEvaluationHasCompleted(Event):
    """There are figures; they are in the evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalEvaluationHasFailed(Event):
    """There are none; the reason is in the evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalSide:
    """One way of searching a collection.

    `settings` are rag's search settings as JSON, which rag alone knows; "" and index 0 mean what the collection has.
    """

    index: int = 0
    settings: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Searching:
    """What is asked of which collection; without a candidate the baseline is measured alone."""

    suite: str
    collection: str
    baseline: RetrievalSide = RetrievalSide()
    candidate: RetrievalSide | None = None
    depth: int = DEFAULT_DEPTH
    max_cases: int = 0
    """Cases with the lowest sha256 of their ids; 0 means all."""
    confidence: float = CONFIDENCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """What holds from the start on."""

    case_set: CaseSet
    baseline: RetrievalSide
    candidate: RetrievalSide | None = None
    documents: int
    """Documents of the collection that were searchable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The result, and the cases that are in none of its measures."""

    measures: tuple[RetrievalMeasure, ...]
    baseline_latency: RetrievalLatency | None = None
    candidate_latency: RetrievalLatency | None = None
    unjudged: int = 0
    gone: int = 0
    failures: int = 0


@dataclass(slots=True, kw_only=True)
class RetrievalEvaluation(EvaluationJob):
    """QUEUED until a worker has pinned what is searched, then RUNNING, then final."""

    searching: Searching
    suite: str
    """Copy from `searching`, for filters of lists."""
    collection: str
    """Copy from `searching`, for filters of lists."""
    pinned: Pinned | None = None
    figures: Figures | None = None

    @classmethod
    def queued(
        cls, project: str, searching: Searching, *, request_id: str, asked_by: str, requester: str
    ) -> "RetrievalEvaluation":
        """Return a new evaluation; its id derives from the request's."""
        return cls(
            id=derived_id(project, "StartRetrievalEvaluation", request_id),
            project=project,
            searching=searching,
            suite=searching.suite,
            collection=searching.collection,
            asked_by=asked_by,
            requester=requester,
        )

    @classmethod
    def for_gate(cls, project: str, searching: Searching, *, evaluation: str, requester: str) -> "RetrievalEvaluation":
        """Return the part of a gate's evaluation; its id is none that a request can have."""
        return cls(
            id=id_for_gate(project, evaluation),
            project=project,
            searching=searching,
            suite=searching.suite,
            collection=searching.collection,
            requester=requester,
        )

    @property
    def cases(self) -> int:
        """Number of cases."""
        return self.pinned.case_set.size if self.pinned else 0

    def begin(self, pinned: Pinned, *, now: datetime, epoch: int) -> None:
        """Pin what is searched."""
        self.refuse_unless_claimed(epoch)
        if self.state is State.RUNNING:
            return
        self.state, self.message, self.pinned = State.RUNNING, "", pinned
        self.pending.append(RetrievalEvaluationHasStarted(occurred_at=now))

    def complete(self, figures: Figures, *, notes: Sequence[str], now: datetime, epoch: int) -> None:
        """Record the figures."""
        self.refuse_unless_claimed(epoch)
        self.figures, self.answered = figures, self.cases - figures.unjudged
        self.finish(State.COMPLETED, now, RetrievalEvaluationHasCompleted(occurred_at=now))
        self.message = "; ".join(notes)

    def has_failed(self, now: datetime) -> Event:
        """Return the event of an end without figures."""
        return RetrievalEvaluationHasFailed(occurred_at=now)


def id_for_gate(project: str, evaluation: str) -> str:
    """Return the id of the part of a gate's evaluation."""
    return derived_id(project, "retrieval of evaluation", evaluation)
