"""How much of a gate's level its evaluations have spent, and with which confidence the next one is judged."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

MAX_BASELINES = 10
MAX_ORIGINS = 100
"""Causes that are remembered, so that further attempts of an evaluation count once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """The evaluations against one baseline, `model@version`."""

    baseline: str
    count: int = 0
    origins: tuple[str, ...] = ()
    """The causes of the last ones, oldest first."""

    def number(self, origin: str) -> int:
        """Return which of them has this cause, counted from 1; 0 if none is remembered."""
        if origin not in self.origins:
            return 0
        return self.count - len(self.origins) + self.origins.index(origin) + 1


def spent_more(spent: Sequence[Spent], baseline: str, origin: str) -> tuple[Spent, ...]:
    """Return what is spent with one evaluation more, unless its cause was counted; the newest baseline is the last."""
    known = next((each for each in spent if each.baseline == baseline), Spent(baseline=baseline))
    if known.number(origin):
        return tuple(spent)
    more = replace(known, count=known.count + 1, origins=(*known.origins, origin)[-MAX_ORIGINS:])
    return (*(each for each in spent if each.baseline != baseline), more)[-MAX_BASELINES:]


def corrected_confidence(confidence: float, number: int) -> float:
    """Return the confidence of the intervals of the n-th evaluation; that of the first one is the gate's.

    A requirement asks for the lower bound alone, which is wrong with half of what an interval may be wrong with. The
    n-th evaluation spends alpha / (n * (n + 1)) of alpha = 1 - confidence, which is half of it for the first and alpha
    for all together, however many there are: a Bonferroni correction with weights that sum to 1.
    """
    return 1 - 2 * (1 - confidence) / (number * (number + 1)) if number else confidence
