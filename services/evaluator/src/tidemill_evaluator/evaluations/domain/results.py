"""Answers of both sides to cases."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tidemill_evaluator.metrics.domain.metric import LATENCY_S

NOT_IN_TIME = "DEADLINE_EXCEEDED"
TEXT_NOT_KEPT = "TEXT_NOT_KEPT"
OTHER_MODEL = "OTHER_MODEL"
"""A fallback answered."""
_NOBODYS = frozenset({NOT_IN_TIME, TEXT_NOT_KEPT})
"""Failures that are attributed to neither side: a slow machine, and a record without its texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseAnswer:
    """One side's answer, or its `failure`.

    `total_s` is the duration without retrieval, or the deadline that was missed, and `max_concurrent` the allowed
    concurrency. `missing` are the metrics that were computed and have no value.
    """

    inference: str = ""
    text: str = ""
    citation_valid: float | None = None
    failure: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    total_s: float = 0.0
    max_concurrent: int = 0
    output_tokens: int | None = None
    cost: float | None = None

    @property
    def failed(self) -> bool:
        """Whether the failure is attributed to this side."""
        return bool(self.failure) and self.failure not in _NOBODYS


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """One case answered by both sides."""

    case_set: str
    case: str
    baseline: CaseAnswer
    candidate: CaseAnswer

    def difference(self, metric: str, *, less_is_better: bool = False) -> float:
        """Return how much better the candidate is; a value that is missing counts as if the side had failed."""
        baseline, candidate = (side.scores.get(metric) for side in (self.baseline, self.candidate))
        if baseline is None or candidate is None:
            return (candidate or 0.0) - (baseline or 0.0)
        return baseline - candidate if less_is_better else candidate - baseline

    def compares(self, metric: str) -> bool:
        """Return whether both sides answered and have a value of the metric: only such cases are evidence."""
        return self.answered and metric in self.baseline.scores and metric in self.candidate.scores

    def lacks(self, metric: str) -> bool:
        """Return whether both sides answered, and one has no value of a metric that applies to the case, or both."""
        return self.answered and (metric in self.baseline.missing or metric in self.candidate.missing)

    def has(self, metric: str) -> bool:
        """Return whether the metric applies to the case, or that is not known: no side answered."""
        answers = [side for side in (self.baseline, self.candidate) if not side.failure]
        return not answers or any(metric in side.scores or metric in side.missing for side in answers)

    def lost(self, metric: str) -> bool:
        """Return whether only the baseline has a value of the metric, and that is due to the candidate.

        Without a value of the baseline the case is no evidence: the metric may not apply to it. An answer that missed
        the deadline is lost by how long it took.
        """
        if self.baseline.failure or metric not in self.baseline.scores:
            return False
        late = metric == LATENCY_S and self.candidate.failure == NOT_IN_TIME
        return late or self.candidate.failed or (self.answered and metric in self.candidate.missing)

    @property
    def nobodys(self) -> bool:
        """Whether a side has no answer by a failure that is attributed to neither."""
        return any(side.failure and not side.failed for side in (self.baseline, self.candidate))

    @property
    def answered(self) -> bool:
        """Whether both sides answered."""
        return not self.baseline.failure and not self.candidate.failure


def scored_in(results: Iterable[CaseResult]) -> list[str]:
    """Return the metrics that an answer has a value of, or should have."""
    sides = [side for result in results for side in (result.baseline, result.candidate)]
    return sorted({name for side in sides for name in (*side.scores, *side.missing)})
