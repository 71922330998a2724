"""Which candidate on a set of cases one is, and with which confidence it is judged."""

from dataclasses import dataclass

from tidemill_core.aggregate import Aggregate
from tidemill_core.application import derived_id

MAX_CANDIDATES = 1000
"""Candidates that are remembered, so that each of them counts once."""


@dataclass(slots=True, kw_only=True)
class SpentLevel(Aggregate):
    """The different candidates that were compared with one live model on one set of cases, by a gate or by hand."""

    baseline: str
    """`model@version`."""
    case_set: str
    """Name of the set with its version."""
    count: int = 0
    candidates: tuple[str, ...] = ()
    """The last ones, oldest first."""

    @classmethod
    def on(cls, project: str, *, baseline: str, case_set: str) -> "SpentLevel":
        """Return it with nothing spent."""
        name = derived_id("spent_level", project, baseline, case_set)
        return cls(id=name, project=project, baseline=baseline, case_set=case_set)

    def spend(self, candidate: str) -> None:
        """Count a candidate, unless it was."""
        if not self.number(candidate):
            self.count += 1
            self.candidates = (*self.candidates, candidate)[-MAX_CANDIDATES:]

    def number(self, candidate: str) -> int:
        """Return which of them it is, counted from 1; 0 if it is not remembered."""
        if candidate not in self.candidates:
            return 0
        return self.count - len(self.candidates) + self.candidates.index(candidate) + 1


def corrected_confidence(confidence: float, number: int) -> float:
    """Return the confidence of the intervals of the n-th candidate; that of the first one is the gate's.

    A requirement asks for the lower bound alone, which is wrong with half of what an interval may be wrong with. The
    n-th candidate spends alpha / (n * (n + 1)) of alpha = 1 - confidence, which is half of it for the first and alpha
    for all together, however many there are: a Bonferroni correction with weights that sum to 1.
    """
    return 1 - 2 * (1 - confidence) / (number * (number + 1)) if number else confidence
