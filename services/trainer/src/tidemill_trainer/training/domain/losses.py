"""Loss curve of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

MAX_LOSSES = 1000
COMPARED = 5
"""A fifth of the points at either end is compared, since single batches differ."""
MIN_COMPARED = 3


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


def stalled(losses: Sequence[LossPoint]) -> str:
    """Return for people that a training seems to have learnt nothing, "" where its loss fell or has too few points."""
    count = len(losses) // COMPARED
    if count < MIN_COMPARED:
        return ""
    first, last = (fmean(point.loss for point in part) for part in (losses[:count], losses[-count:]))
    if last < first:
        return ""
    return (
        f"the loss did not fall: {first:.4g} in the first fifth of the steps, {last:.4g} in the last; use another "
        "learning_rate, more steps or other examples"
    )
