"""What the cache of a deployment saved in a day."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date

from tidemill_inference.caching.domain.use import CacheKind, CacheUse
from tidemill_inference.prices.domain.money import decimal_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """How many answers were given again and made, and what making the former had taken."""

    exact_hits: int = 0
    semantic_hits: int = 0
    made: int = 0
    saved_input_tokens: int = 0
    saved_output_tokens: int = 0
    saved_time_s: float = 0.0
    saved_nanos: int = 0
    """Billionths of the currency."""
    currency: str = ""

    @property
    def saved_cost(self) -> str:
        """The decimal, empty for nothing."""
        return decimal_of(self.saved_nanos) if self.saved_nanos else ""

    def __add__(self, other: "Savings") -> "Savings":
        """Return both together."""
        return Savings(
            exact_hits=self.exact_hits + other.exact_hits,
            semantic_hits=self.semantic_hits + other.semantic_hits,
            made=self.made + other.made,
            saved_input_tokens=self.saved_input_tokens + other.saved_input_tokens,
            saved_output_tokens=self.saved_output_tokens + other.saved_output_tokens,
            saved_time_s=self.saved_time_s + other.saved_time_s,
            saved_nanos=self.saved_nanos + other.saved_nanos,
            currency=other.currency or self.currency,
        )


MADE = Savings(made=1)
"""An answer that was made."""


def saved_by(use: CacheUse) -> Savings:
    """Return what one answer that was given again saved."""
    return Savings(
        exact_hits=int(use.kind is CacheKind.EXACT),
        semantic_hits=int(use.kind is CacheKind.SEMANTIC),
        saved_input_tokens=use.saved_input_tokens,
        saved_output_tokens=use.saved_output_tokens,
        saved_time_s=use.saved_time_s,
        saved_nanos=use.saved_nanos,
        currency=use.currency,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DailySavings:
    """Savings of a deployment in one day, in UTC."""

    project: str
    deployment: str
    day: date
    savings: Savings


def total_of(days: Iterable[DailySavings]) -> Savings:
    """Return the sum."""
    total = Savings()
    for each in days:
        total += each.savings
    return replace(total, saved_time_s=round(total.saved_time_s, 6))
