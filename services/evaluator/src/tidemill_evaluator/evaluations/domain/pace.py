"""Concurrency of answers, adapted to their latency."""

from dataclasses import dataclass

BEGINNING = 4
"""Initial concurrency: low enough for a slow machine, high enough to adapt quickly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question in flight: its round and the concurrency allowed then."""

    round: int
    max_concurrent: int
    full: bool
    """Whether the limit was reached; only then does a fast answer raise it."""


class Pace:
    """Additive increase and multiplicative decrease of the concurrency limit, driven by latencies.

    Chiu and Jain, Analysis of the Increase and Decrease Algorithms for Congestion Avoidance in Computer Networks
    (1989): clients of a shared engine converge to equal shares. Slow start doubles up to half of the last overload, and
    a missed deadline restarts from one (Jacobson, Congestion Avoidance and Control, 1988); the limit decreases once per
    round. A steady one begins with as many and never allows more, so that times of answers can be compared.
    """

    def __init__(self, *, maximum: int, share: float, steady: bool = False) -> None:
        """`share` is the part of the deadline above which an answer is slow."""
        self._steady = steady
        self._max = maximum
        self._share = share
        self._places = float(min(BEGINNING, maximum))
        self._doubling_below = float(maximum)
        self._round = 0

    @property
    def max_concurrent(self) -> int:
        """Current limit."""
        return int(self._places)

    def asked(self, under_way: int) -> Asked:
        """Record the start of a question."""
        return Asked(round=self._round, max_concurrent=self.max_concurrent, full=under_way >= self.max_concurrent)

    def answered(self, asked: Asked, share: float) -> None:
        """Adapt to an answer that took this share of its deadline."""
        if asked.round != self._round:
            return
        if share > self._share:
            self._slow_down(to=self._places / 2)
        elif asked.full and not self._steady:
            more = 1.0 if self._places < self._doubling_below else 1 / self._places
            self._places = min(self._places + more, self._max)

    def refused(self, asked: Asked) -> None:
        """Adapt to a RateLimited error."""
        if asked.round == self._round:
            self._slow_down(to=self._places / 2)

    def late(self, asked: Asked) -> None:
        """Adapt to a missed deadline."""
        if asked.round == self._round:
            self._slow_down(to=1.0)

    def _slow_down(self, *, to: float) -> None:
        self._doubling_below = max(1.0, self._places / 2)
        self._places = max(1.0, to)
        self._round += 1
