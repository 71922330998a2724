"""What makes a run a trial of a sweep: it learns from a part of the train split and is measured on the rest."""

import math
from dataclasses import dataclass

DATASET_CHANGED = "DATASET_CHANGED"
"""Why a trial fails whose dataset version lost examples since its sweep was created."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """The part of a train split that trials are measured on; the same for all that have the same share and seed."""

    share: float
    seed: int
    measurements: int
    """How often a trial is measured, the last time at its last step."""

    def measured_at(self, steps: int) -> frozenset[int]:
        """Return the steps after which a trial of so many is measured."""
        return frozenset(math.ceil(steps * each / self.measurements) for each in range(1, self.measurements + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A trial's place in its sweep."""

    number: int
    held_out: HeldOut
