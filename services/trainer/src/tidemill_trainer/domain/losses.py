"""The losses of a run, by step."""

from collections.abc import Sequence
from dataclasses import dataclass

MAX_LOSSES = 1000


@dataclass(frozen=True, slots=True)
class LossPoint:
    """The loss that was logged at a step."""

    step: int
    loss: float


def thinned(losses: Sequence[LossPoint], maximum: int = MAX_LOSSES) -> tuple[LossPoint, ...]:
    """Return at most this many, spread evenly over the run, and the last in any case.

    What is kept stands on steps that can be divided by a power of two, so that what was thinned before, and then went
    on, is thinned as if it had never been.
    """
    every, kept = 1, list(losses)
    while len(kept) > maximum:
        every *= 2
        kept = [point for point in losses[:-1] if point.step % every == 0] + [losses[-1]]
    return tuple(kept)
