"""Which groups of a dataset are held out: decided when a group is first seen, for ever."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

_WHOLE = 1_000_000
"""Shares are counted in millionths, so that the same groups give the same split on every machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Groups that are assigned, and what rounding carries over for the held-out part, in millionths of a group.

    Of all groups that there ever were, those that matter to what is divided are enough.
    """

    train: frozenset[str] = frozenset()
    held_out: frozenset[str] = frozenset()
    held_out_debt: int = 0

    def with_groups(self, groups: Iterable[str], *, share: float, salt: str) -> "Split":
        """Return the split with the new ones among the groups assigned; no assigned group moves.

        The new groups are ordered by a salted hash, and their share is taken by count from the front: so the share is
        met to within one group, where a hash compared with the share would miss it by chance. What rounding left over
        counts for the next ones, so that groups that come one by one meet the share as well.
        """
        new = sorted({*groups} - self.train - self.held_out, key=lambda group: _rank(group, salt))
        if not new:
            return self
        due = round(share * _WHOLE) * len(new) + self.held_out_debt
        count = min(max((due + _WHOLE // 2) // _WHOLE, 0), len(new))
        return Split(
            train=self.train.union(new[count:]),
            held_out=self.held_out.union(new[:count]),
            held_out_debt=due - count * _WHOLE,
        )

    def added_to(self, earlier: "Split") -> dict[str, bool]:
        """Return the groups that the earlier split lacks, and whether they are held out."""
        train, held_out = self.train - earlier.train, self.held_out - earlier.held_out
        return dict.fromkeys(train, False) | dict.fromkeys(held_out, True)


def _rank(group: str, salt: str) -> bytes:
    return hashlib.sha256(f"{salt}\n{group}".encode()).digest()
