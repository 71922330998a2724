"""How evenly something is spread over groups."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import exp, log


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What is said of groups, without their names."""

    name: str
    count: int
    groups: int
    largest_share: float
    effective_number: float

    @classmethod
    def of(cls, name: str, sizes: Iterable[int]) -> "Balance | None":
        """Return the balance of groups of these sizes, None where there are none.

        The effective number is e to the power of Shannon's entropy (Jost, Entropy and diversity, 2006).
        """
        there = [size for size in sizes if size > 0]
        if not there:
            return None
        count = sum(there)
        shares = [size / count for size in there]
        effective = exp(-sum(share * log(share) for share in shares))
        return cls(name=name, count=count, groups=len(there), largest_share=max(shares), effective_number=effective)
