"""Loss curve of a run."""

from collections.abc import Sequence
from dataclasses import dataclass

MAX_LOSSES = 1000


@dataclass(frozen=True, slots=True)
class LossPoint:
    """The loss that was logged at a step."""

    step: int
    loss: float


def thinned(losses: Sequence[LossPoint], maximum: int = MAX_LOSSES) -> tuple[LossPoint, ...]:
    """Return at most this many points, evenly spread over the run, always with the last.

    Kept points are at steps divisible by a power of two, so thinning repeatedly gives the same points as thinning once.
    """
    every, kept = 1, list(losses)
    while len(kept) > maximum:
        every *= 2
        kept = [point for point in losses[:-1] if point.step % every == 0] + [losses[-1]]
    return tuple(kept)
