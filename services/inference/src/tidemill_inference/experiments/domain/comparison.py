"""What came of the answers of arms, by end user, and what that shows.

Bets on the means of users are evidence that is valid at any time, also where the weights of arms follow what was seen
before: each next user of an arm has the arm's mean, whatever chose the arm (Howard and others, Time-uniform,
nonparametric, nonasymptotic confidence sequences, 2021). Of a user who was moved to another arm only the answers of the
first one count.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from tidemill_inference.experiments.domain.cohorts import MIN_USERS, NO_COHORTS, Cohorts, counted_cohorts
from tidemill_inference.experiments.domain.plan import WITHOUT_COHORTS, CohortPlan, Measured
from tidemill_inference.experiments.domain.scores import ArmCounts, counts_of_arm
from tidemill_inference.rollouts.domain.policy import StickyBy
from tidemill_inference.rollouts.domain.step_counts import Outcome, is_less
from tidemill_inference.rollouts.domain.values import mature_times


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What counts of all arms by their names, the control first, and when the next value matures."""

    arms: Mapping[str, ArmCounts]
    matures: datetime | None = None
    kept: int = 0
    """All outcomes of the run, also those of users who were moved, which do not count."""
    cohorts: Cohorts = NO_COHORTS
    """By labels of requests: no decision rests on them."""

    @property
    def answers(self) -> int:
        """Of all arms."""
        return sum(each.answers for each in self.arms.values())

    @property
    def users(self) -> float:
        """The effective number of users whose goal is known, of all arms."""
        return math.fsum(each.goal.number for each in self.arms.values())

    def with_differences(self, *, error: float) -> "Counts":
        """Return them with the bounds of each arm's differences to the control, which hold together.

        `error` is divided among the arms; those of one measure hold together, not those of all measures.
        """
        control, *_ = self.arms
        theirs, each_error = self.arms[control], error / max(1, len(self.arms) - 1)
        return replace(
            self,
            arms={
                name: arm if name == control else _with_differences(arm, theirs, each_error)
                for name, arm in self.arms.items()
            },
            cohorts=self.cohorts.compared(error=error),
        )


def counted(  # noqa: PLR0913 - keyword-only, and each of another kind
    outcomes: Sequence[Outcome],
    names: Sequence[str],
    *,
    goal: Measured,
    guardrails: Sequence[Measured],
    now: datetime,
    sticky_by: StickyBy = StickyBy.END_USER,
    cohorts: CohortPlan = WITHOUT_COHORTS,
    min_cohort_users: int = MIN_USERS,
) -> Counts:
    """Return what the outcomes of a run come to, the control's name first; values before they mature do not count.

    Where requests are divided, and not users, a user is one observation of each arm: what the same user says of two
    arms goes along, and the product of bets on both then gains less, not more.
    """
    stays = _first_arms(outcomes) if sticky_by is StickyBy.END_USER else {}
    by_arm: dict[str, list[Outcome]] = {name: [] for name in names}
    for each in outcomes:
        if each.variant in by_arm and stays.get(each.user, each.variant) == each.variant:
            by_arm[each.variant].append(each)
    count = partial(counts_of_arm, goal=goal, guardrails=guardrails, now=now)
    matures = mature_times((value for each in outcomes for value in each.values), after=now)
    return Counts(
        arms={name: count(those) for name, those in by_arm.items()},
        matures=min(matures, default=None),
        kept=len(outcomes),
        cohorts=counted_cohorts(by_arm, cohorts, count=count, min_users=min_cohort_users),
    )


def best_arm(counts: Counts, active: Sequence[str], *, alpha: float) -> str:
    """Return the arm that is shown to be better than every other active one, "" where none is.

    Each comparison may be wrong with alpha / K for K arms, stopped ones as well. Were b wrongly called the best, an arm
    that is as good or better, the same whatever b is, were shown to be worse than b: that is one of K - 1 comparisons;
    where several arms are the best, one that is called so was shown to be better than its equal: one more. So some arm
    is wrongly called the best, at any time, with a probability of alpha at most (union bound).
    """
    known = {name: counts.arms[name].goal for name in active}
    means = {name: score.mean for name, score in known.items() if score.mean is not None}
    if len(means) < len(known) or len(known) < 2:  # noqa: PLR2004 - one is compared with none
        return ""
    leader = max(means, key=lambda name: (means[name], name))
    convincing = math.log(len(counts.arms) / alpha)
    others = (score for name, score in known.items() if name != leader)
    shown = all(is_less(each.high, known[leader].low, by=0.0, convincing=convincing) for each in others)
    return leader if shown else ""


def broken_guardrail(
    counts: Counts, name: str, control: str, *, losses: Sequence[float], alpha: float
) -> tuple[int, str] | None:
    """Return which guardrail an arm is shown to break, and what shows it.

    With G guardrails and K arms each test has an error of alpha / (G (K - 1)), so that any arm that keeps all of them
    is stopped, at any time, with a probability of alpha at most.
    """
    convincing = math.log(len(losses) * (len(counts.arms) - 1) / alpha) if losses else math.inf
    pairs = zip(counts.arms[name].guardrails, counts.arms[control].guardrails, losses, strict=True)
    for number, (ours, theirs, loss) in enumerate(pairs):
        if is_less(ours.high, theirs.low, by=loss, convincing=convincing):
            text = f"{ours.measure} has a mean score of {ours.mean:.3g} of {ours.number:.3g} users against "
            text += f"{theirs.mean:.3g} of {theirs.number:.3g} of {control}: less by more than the limit of {loss:g}"
            return number, text
    return None


def _first_arms(outcomes: Sequence[Outcome]) -> Mapping[str, str]:
    """Return the arm in which each user was first answered: within an epoch all replicas choose the same one."""
    first: dict[str, tuple[int, str]] = {}
    for each in outcomes:
        if each.user:
            seen = (each.step, each.variant)
            first[each.user] = min(first.get(each.user, seen), seen)
    return {user: arm for user, (_, arm) in first.items()}


def _with_differences(arm: ArmCounts, control: ArmCounts, error: float) -> ArmCounts:
    pairs = zip(arm.guardrails, control.guardrails, strict=True)
    return replace(
        arm,
        goal=arm.goal.with_difference(control.goal, error=error),
        guardrails=tuple(ours.with_difference(theirs, error=error) for ours, theirs in pairs),
    )
