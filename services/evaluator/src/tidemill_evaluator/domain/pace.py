"""How many answers are asked for at the same time, learnt from how long they take."""

from dataclasses import dataclass

BEGINNING = 4
"""Answers that are asked for at first: few enough for a slow machine, and enough to learn from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question under way: in which round it was asked, and beside how many others that were allowed."""

    round: int
    max_concurrent: int
    full: bool
    """Whether all places were taken: only then an answer in time shows that there may be more."""


class Pace:
    """Additive increase and multiplicative decrease of what is under way, by the time of the answers.

    Chiu and Jain, Analysis of the Increase and Decrease Algorithms for Congestion Avoidance in Computer Networks
    (1989): those who share an engine come to equal shares by themselves. It begins by doubling up to half of where it
    was last too much, and starts over from one after a deadline that passed (Jacobson, Congestion Avoidance and
    Control, 1988); one round of answers slows it down once.
    """

    def __init__(self, *, maximum: int, share: float) -> None:
        """`share` is the part of a deadline above which an answer is slow."""
        self._max = maximum
        self._share = share
        self._places = float(min(BEGINNING, maximum))
        self._doubling_below = float(maximum)
        self._round = 0

    @property
    def max_concurrent(self) -> int:
        """How many may be under way."""
        return int(self._places)

    def asked(self, under_way: int) -> Asked:
        """Remember a question, which is one of those under way."""
        return Asked(round=self._round, max_concurrent=self.max_concurrent, full=under_way >= self.max_concurrent)

    def answered(self, asked: Asked, share: float) -> None:
        """Learn from an answer that took this share of its deadline."""
        if asked.round != self._round:
            return
        if share > self._share:
            self._slow_down(to=self._places / 2)
        elif asked.full:
            more = 1.0 if self._places < self._doubling_below else 1 / self._places
            self._places = min(self._places + more, self._max)

    def refused(self, asked: Asked) -> None:
        """Learn from an answer that the other side had no space for."""
        if asked.round == self._round:
            self._slow_down(to=self._places / 2)

    def late(self, asked: Asked) -> None:
        """Learn from an answer that did not come in time."""
        if asked.round == self._round:
            self._slow_down(to=1.0)

    def _slow_down(self, *, to: float) -> None:
        self._doubling_below = max(1.0, self._places / 2)
        self._places = max(1.0, to)
        self._round += 1
