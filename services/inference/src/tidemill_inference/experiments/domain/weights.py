"""Weights that follow what is seen: the likelier an arm is the best, the more requests it has."""

from collections.abc import Mapping
from random import Random

from tidemill_inference.experiments.domain.plan import ALL
from tidemill_inference.rollouts.domain.values import SideValues

DRAWS = 2000
MIN_USERS = 10
"""Of each arm, before weights move."""
GROWTH = 1.1
"""Weights move when so many times the users are known as at their last move: seldom, and the seldomer the longer."""
MIN_MOVE = 3
"""Per cent: where no weight would move by more, none does."""


def default_min_weight(arms: int) -> int:
    """Return the share that every arm keeps: two fifths of an equal share, 20 % of two arms.

    Less would spare more users the worse arms, and find the best one later.
    """
    return 2 * ALL // (5 * arms)


def adapted(arms: Mapping[str, SideValues], *, share: int, min_weight: int, seed: str) -> Mapping[str, int]:
    """Return weights that add up to `share`: of each arm the probability that it is the best, above its minimum.

    Thompson, On the likelihood that one unknown probability exceeds another (1933); for means of scores in [0, 1] by
    the Beta posterior, which is at least as wide as theirs: Agrawal and Goyal, Analysis of Thompson sampling (2012).
    What is seen of users decides, and only of those who came before. The same numbers give the same weights.
    """
    chance = Random(seed)  # noqa: S311 - no secret
    shapes = {
        name: (1.0 + each.number * (each.mean or 0.0), 1.0 + each.number * (1.0 - (each.mean or 0.0)))
        for name, each in sorted(arms.items())
    }
    wins = dict.fromkeys(shapes, 0)
    for _ in range(DRAWS):
        drawn = {name: chance.betavariate(*shape) for name, shape in shapes.items()}
        wins[max(drawn, key=lambda name: drawn[name])] += 1
    free = share - min_weight * len(arms)
    exact = {name: min_weight + free * won / DRAWS for name, won in wins.items()}
    weights = {name: int(each) for name, each in exact.items()}
    left = share - sum(weights.values())
    for name in sorted(exact, key=lambda each: (weights[each] - exact[each], each))[:left]:
        weights[name] += 1
    return weights
