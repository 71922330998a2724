"""What a run logs beside its loss: one curve for each number, bounded in how many and how long."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MAX_CURVES = 17
MAX_POINTS = 256
MAX_NAME_LENGTH = 64
_NOT_CURVES = frozenset({"loss", "epoch", "step", "total_flos"})
_OF_MEASUREMENTS = ("eval_", "train_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Numbers by step."""

    name: str
    steps: tuple[int, ...] = ()
    values: tuple[float, ...] = ()
    every: int = 1
    """The points are those at steps that this power of two divides, and the last."""

    def extended(self, step: int, value: float) -> "Curve":
        """Return it with one more point; of too many only those at steps divisible by a power of two are kept."""
        points = [*zip(self.steps, self.values, strict=True)]
        if points and points[-1][0] % self.every:
            points.pop()  # it was kept as the last alone
        points.append((step, value))
        every = self.every
        while len(points) > MAX_POINTS:
            every *= 2
            points = [point for point in points[:-1] if point[0] % every == 0] + [points[-1]]
        steps, values = zip(*points, strict=True)
        return Curve(name=self.name, steps=steps, values=values, every=every)


def numbers_of(logged: Mapping[str, object]) -> Mapping[str, float]:
    """Return the numbers of a log entry that make curves: finite ones, without the loss and what only counts."""
    return {
        name: float(value)
        for name, value in sorted(logged.items())
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and name not in _NOT_CURVES
        and not name.startswith(_OF_MEASUREMENTS)
        and len(name) <= MAX_NAME_LENGTH
    }


def extended(curves: Sequence[Curve], step: int, numbers: Mapping[str, float]) -> tuple[Curve, ...]:
    """Return the curves with the numbers of one more step, sorted by name; the first MAX_CURVES names are kept."""
    known = {curve.name: curve for curve in curves}
    for name in sorted(numbers):
        if name in known or len(known) < MAX_CURVES:
            known[name] = known.get(name, Curve(name=name)).extended(step, numbers[name])
    return tuple(known[name] for name in sorted(known))
