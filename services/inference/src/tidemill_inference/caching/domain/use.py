"""Whose answer was given again, and what that saved."""

from dataclasses import dataclass
from enum import Enum


class CacheKind(Enum):
    """What the questions have in common."""

    EXACT = "exact"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheUse:
    """The inference whose answer it is, and the tokens that its model had processed for it."""

    kind: CacheKind
    inference: str
    saved_input_tokens: int
    saved_output_tokens: int
