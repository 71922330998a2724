"""Whether a judge still judges as it did."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import nsmallest
from math import comb

TOLERANCE = 0.25
"""Scores that differ by no more are repeated: a point of five."""
LEVEL = 0.001
"""How probable at most a judge that did not change is called drifted, in one check."""
MIN_CHECKED = 8
"""Fewer answers say nothing."""
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Rejudged:
    """Three scores of one answer: twice when the judge was measured, and now."""

    first: float
    second: float
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeDrift:
    """How far a version of a judge repeats its judgements."""

    checked: int
    repeated_scores: int
    repeated_when_measured: int = 0
    """Of the same answers, in its measurement."""
    drifted: bool
    version: str
    check_time: datetime

    @classmethod
    def of(cls, scores: Sequence[Rejudged], *, version: str, now: datetime) -> "JudgeDrift | None":
        """Return it; None of fewer than MIN_CHECKED.

        How far a judge repeats itself is its own, so it is compared with that: by Fisher's exact test (1922),
        one-sided, of the scores that it repeated in its measurement, and now. Both are compared with its first scores,
        so that they differ by chance alone where it did not change.
        """
        if len(scores) < MIN_CHECKED:
            return None
        then = sum(_same(each.first, each.second) for each in scores)
        again = sum(_same(each.first, each.now) for each in scores)
        return cls(
            checked=len(scores),
            repeated_scores=again,
            repeated_when_measured=then,
            drifted=chance_of_fewer(again, then, of=len(scores)) < LEVEL,
            version=version,
            check_time=now,
        )

    def explained(self, judge: str) -> str:
        """Return that a judge has drifted, and what to do."""
        return (
            f"judge {judge} repeats {self.repeated_scores} of {self.checked} of its own judgements, and repeated "
            f"{self.repeated_when_measured} when it was measured, so it is not the one that was measured, though its "
            "configuration is: measure it again"
        )


def chance_of_fewer(fewer: int, more: int, *, of: int) -> float:
    """Return how probable `fewer` or less is, where both are counted of so many, and have one probability."""
    both = fewer + more
    ways = sum(comb(of, each) * comb(of, both - each) for each in range(max(0, both - of), fewer + 1))
    return ways / comb(2 * of, both)


def fixed_cases(items: Iterable[str], count: int) -> list[str]:
    """Return so many of the items, the same ones each time: those with the lowest sha256."""
    return nsmallest(count, items, key=lambda item: hashlib.sha256(item.encode()).digest())


def _same(one: float, other: float) -> bool:
    return abs(one - other) <= TOLERANCE + _ROUNDING
