"""Which part of a batch one user, or one group of users, may have."""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tidemill_feedback.curations.domain.ledger import Row

_TOLERANCE = 1e-9
"""A share of .29 of 100 is 29."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareLimit:
    """Limits the share of the examples that users with the same key have; others are not limited, and count."""

    share: float
    key: Callable[[Row], str]
    reason: str

    def largest(self, rows: Sequence[Row]) -> int:
        """Return how many examples each key may have, at least one.

        It is the greatest number that is no more than the share of what is left once each key has no more than that.
        What is left grows ever slower with it, so all smaller numbers hold as well.
        """
        counts = Counter(self.key(row) for row in rows if row.by_user)
        others = len(rows) - sum(counts.values())

        def exceeds(number: int) -> bool:
            left = others + sum(min(count, number) for count in counts.values())
            return number > self.share * left + _TOLERANCE

        highest = max(counts.values(), default=1)
        return max(1, bisect_right(range(1, highest + 1), x=False, key=exceeds))

    def keeps(self, rows: Sequence[Row]) -> list[Row]:
        """Return the first rows of each key that it may have."""
        limit, kept = self.largest(rows), list[Row]()
        taken: defaultdict[str, int] = defaultdict(int)
        for row in rows:
            if row.by_user:
                taken[self.key(row)] += 1
                if taken[self.key(row)] > limit:
                    continue
            kept.append(row)
        return kept


def within_shares(rows: Sequence[Row], limits: Sequence[ShareLimit]) -> tuple[Sequence[Row], dict[str, str]]:
    """Return the rows that all limits leave, of each key the first, and why each other one is left out.

    What one limit leaves out makes the shares of the others larger, so they are applied until nothing changes.
    """
    kept, refused = list(rows), dict[str, str]()
    changed = bool(limits)
    while changed:
        changed = False
        for limit in limits:
            left = limit.keeps(kept)
            if len(left) < len(kept):
                names = {row.candidate.feedback for row in left}
                gone = [row.candidate.feedback for row in kept if row.candidate.feedback not in names]
                refused |= dict.fromkeys(gone, limit.reason)
                kept, changed = left, True
    return kept, refused
