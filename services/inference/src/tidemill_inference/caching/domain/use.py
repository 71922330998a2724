"""Whose answer was given again, and what that saved."""

from dataclasses import dataclass
from enum import Enum

from tidemill_inference.prices.domain.money import decimal_of


class CacheKind(Enum):
    """What the questions have in common."""

    EXACT = "exact"
    SEMANTIC = "semantic"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheUse:
    """The inference whose answer it is, and what its making took."""

    kind: CacheKind
    inference: str
    saved_input_tokens: int
    saved_output_tokens: int
    saved_time_s: float = 0.0
    """Without the search, which ran again."""
    saved_nanos: int = 0
    """Billionths of the currency."""
    currency: str = ""
    similarity: float = 0.0
    """The cosine similarity of both questions, 0 where they are equal."""

    @property
    def saved_cost(self) -> str:
        """The decimal, empty for nothing."""
        return decimal_of(self.saved_nanos) if self.saved_nanos else ""
