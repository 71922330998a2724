"""Answers of both sides to cases."""

from collections.abc import Mapping
from dataclasses import dataclass, field

NOT_IN_TIME = "DEADLINE_EXCEEDED"
TEXT_NOT_KEPT = "TEXT_NOT_KEPT"
_NOBODYS = frozenset({NOT_IN_TIME, TEXT_NOT_KEPT})
"""Failures that are attributed to neither side: a slow machine, and a record without its texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseAnswer:
    """One side's answer, or its `failure`.

    `total_s` is the duration without retrieval, and `max_concurrent` the allowed concurrency.
    """

    inference: str = ""
    text: str = ""
    citation_valid: float | None = None
    failure: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    total_s: float = 0.0
    max_concurrent: int = 0

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

    def baseline_score(self, metric: str) -> float:
        """Return the baseline's."""
        return self.baseline.scores.get(metric, 0.0)

    def difference(self, metric: str) -> float:
        """Return candidate less baseline."""
        return self.candidate.scores.get(metric, 0.0) - self.baseline.scores.get(metric, 0.0)

    @property
    def lost(self) -> bool:
        """Whether the candidate failed what the baseline answered."""
        return self.candidate.failed and not self.baseline.failure

    @property
    def answered(self) -> bool:
        """Whether both sides answered; only such cases are evidence."""
        return not self.baseline.failure and not self.candidate.failure
