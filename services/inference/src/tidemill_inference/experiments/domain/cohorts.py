"""The results of an experiment by cohort: users whose requests have the same value of a label.

Nothing is decided by them. They are read at any time, and of all of them together, so that both is corrected for: the
evidence of one cohort is a bet as that of all users is, valid at any time, and what is corrected is the number of
comparisons that there may ever be, not of those that there are by now. A value has its place for good, in the order in
which values came to have some users; were the places of the largest, which change, more than so many would be compared
in the course of time.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from tidemill_core.multiplicity import holm
from tidemill_inference.experiments.domain.plan import CohortPlan
from tidemill_inference.experiments.domain.scores import ArmCounts, Score
from tidemill_inference.rollouts.domain import evidence
from tidemill_inference.rollouts.domain.step_counts import Outcome
from tidemill_inference.rollouts.domain.values import is_enough

MIN_NAMED = 5
"""A value of fewer users is not named, but one of the others: it could identify a person."""
MIN_USERS = 10
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortArm:
    """What counts of one arm in a cohort. Only the goal is compared, and only where both sides have enough users."""

    arm: str
    counts: ArmCounts = field(default_factory=ArmCounts)
    enough: bool = False
    adjusted_p_value: float | None = None
    """Two-sided, of no difference to the control, corrected for all comparisons of the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortCounts:
    """What counts of one cohort, the control first; `value` is empty for requests without the label.

    `other` is all other values, whose users differ from time to time: it is shown, and not compared.
    """

    label: str
    value: str = ""
    other: bool = False
    arms: tuple[CohortArm, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohorts:
    """All cohorts of a run, and how many comparisons there may ever be."""

    counts: tuple[CohortCounts, ...] = ()
    family: int = 0

    @property
    def adjusted_p_values(self) -> Mapping[tuple[int, int], float]:
        """The p-values of what is compared, by the places of cohort and arm.

        They are valid at any time: that any of them without a difference is ever at most alpha has a probability of
        alpha at most (Holm).
        """
        sides = {
            (cohort, place): (arm.counts.goal, each.arms[0].counts.goal)
            for cohort, each in enumerate(self.counts)
            for place, arm in enumerate(each.arms)
            if place and arm.enough
        }
        adjusted = holm([_p_value(ours, theirs) for ours, theirs in sides.values()], family=self.family)
        return dict(zip(sides, adjusted, strict=True))

    def compared(self, *, error: float) -> "Cohorts":
        """Return them compared by the goal: all bounds hold together, at any time, with 1 - `error` (union bound)."""
        found = self.adjusted_p_values
        each_error = error / max(1, self.family)
        compared = tuple(
            replace(
                each,
                arms=tuple(
                    _with_result(arm, each.arms[0], found[cohort, place], each_error)
                    if (cohort, place) in found
                    else arm
                    for place, arm in enumerate(each.arms)
                ),
            )
            for cohort, each in enumerate(self.counts)
        )
        return replace(self, counts=compared)


NO_COHORTS = Cohorts()
_ByArm = Mapping[str, Sequence[Outcome]]


def counted_cohorts(
    by_arm: _ByArm, plan: CohortPlan, *, count: Callable[[Sequence[Outcome]], ArmCounts], min_users: int
) -> Cohorts:
    """Return what the answers of each arm, the control first, come to by cohort; `count` is that of one arm.

    `min_users` of each side are needed for a comparison.
    """
    outcomes = [each for those in by_arm.values() for each in those] if plan.labels else []
    outcomes.sort(key=lambda each: (each.asked_at or _LONG_AGO, each.inference))
    found: list[CohortCounts] = []
    for label in plan.labels:
        named = _named(outcomes, label, plan.max_values)
        for value, other, those in _divided(by_arm, label, named):
            control, *_ = counts = [(arm, count(given)) for arm, given in those.items()]
            found.append(
                CohortCounts(
                    label=label,
                    value=value,
                    other=other,
                    arms=tuple(
                        CohortArm(arm=arm, counts=ours, enough=not other and _is_enough(ours, control[1], min_users))
                        for arm, ours in counts
                    ),
                )
            )
    return Cohorts(counts=tuple(found), family=plan.family(len(by_arm)))


def _named(outcomes: Sequence[Outcome], label: str, max_values: int) -> Sequence[str]:
    """Return the values that have results of their own, in the order in which they came to have enough users."""
    named, users = list[str](), defaultdict[str, set[str]](set)
    for each in outcomes:
        if (value := each.cohorts.get(label, "")) and len(users[value]) < MIN_NAMED:
            users[value].add(each.user or each.inference)
            if len(users[value]) == MIN_NAMED:
                named.append(value)
        if len(named) == max_values:
            break
    return named


def _divided(
    by_arm: _ByArm, label: str, named: Sequence[str]
) -> Iterator[tuple[str, bool, Mapping[str, Sequence[Outcome]]]]:
    """Yield each cohort that has an answer: its value, whether it is all other values, and its answers by arm."""
    keys = [*((value, False) for value in named), ("", False), ("", True)]
    known = set(named)
    divided: dict[tuple[str, bool], dict[str, list[Outcome]]] = {key: {arm: [] for arm in by_arm} for key in keys}
    for arm, those in by_arm.items():
        for each in those:
            value = each.cohorts.get(label, "")
            other = bool(value) and value not in known
            divided["" if other else value, other][arm].append(each)
    for key in keys:
        if any(divided[key].values()):
            yield *key, divided[key]


def _is_enough(ours: ArmCounts, control: ArmCounts, min_users: int) -> bool:
    return is_enough(min(ours.goal.number, control.goal.number), min_users)


def _p_value(ours: Score, theirs: Score) -> float:
    """Return it of no difference, at any time: of the bets on both directions, of which half of the capital is each."""
    if ours.mean is None or theirs.mean is None or ours.mean == theirs.mean:
        return 1.0  # nothing is made of bets against what the means say
    low, high = (ours, theirs) if ours.mean < theirs.mean else (theirs, ours)
    capital = evidence.less(low.high.samples, high.low.samples, by=0.0)
    return min(1.0, 2.0 * math.exp(-max(capital, 0.0)))


def _with_result(arm: CohortArm, control: CohortArm, p_value: float, error: float) -> CohortArm:
    goal = arm.counts.goal.with_difference(control.counts.goal, error=error)
    return replace(arm, counts=replace(arm.counts, goal=goal), adjusted_p_value=p_value)
