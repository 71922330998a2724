"""One call of a model for an answer."""

from dataclasses import dataclass
from enum import Enum

ANSWERED = "ANSWERED"
CANCELLED = "CANCELLED"
"""The client left, or another attempt of a hedge was first."""


class AttemptKind(Enum):
    """Why an attempt was made."""

    FIRST = "first"
    RETRY = "retry"
    HEDGE = "hedge"
    FALLBACK = "fallback"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What came of it: ANSWERED, CANCELLED, or the reason of its error. `start_s` counts from the request.

    Tokens are what the model may charge. Where it did not report them, they are `estimated`: those of the prompt are as
    many as the model had that answered, and those that were generated are pieces of text.
    """

    model: str
    kind: AttemptKind
    outcome: str
    endpoint: str = ""
    start_s: float = 0.0
    duration_s: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False
