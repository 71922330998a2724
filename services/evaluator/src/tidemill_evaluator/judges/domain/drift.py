"""Whether a judge still judges as it did."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tidemill_core.intervals import share_interval

TOLERANCE = 0.25
"""Scores that differ by no more are repeated: a point of five."""
MIN_REPEATED = 0.9
"""Share of repeated scores of a judge that has not drifted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeDrift:
    """How far a version of a judge repeats its judgements."""

    checked: int
    repeated_scores: int
    drifted: bool
    version: str
    check_time: datetime

    @classmethod
    def of(cls, scores: Sequence[tuple[float, float | None]], *, version: str, now: datetime) -> "JudgeDrift | None":
        """Return it for pairs of scores, earlier and again; None without any.

        It has drifted where the 95 % interval of the share of repeated scores (Wilson 1927) is below MIN_REPEATED.
        """
        if not scores:
            return None
        same = sum(again is not None and abs(again - before) <= TOLERANCE for before, again in scores)
        _, high = share_interval(same / len(scores), len(scores))
        return cls(
            checked=len(scores),
            repeated_scores=same,
            drifted=high < MIN_REPEATED,
            version=version,
            check_time=now,
        )

    def explained(self, judge: str) -> str:
        """Return that a judge has drifted, and what to do."""
        return (
            f"judge {judge} repeats {self.repeated_scores} of {self.checked} of its own judgements, so it is not the "
            "one that was measured, though its configuration is: measure it again"
        )
