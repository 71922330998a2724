"""What came of the answers of arms, by end user, and what that shows.

Bets on the means of users are evidence that is valid at any time, also where the weights of arms follow what was seen
before: each next user of an arm has the arm's mean, whatever chose the arm (Howard and others, Time-uniform,
nonparametric, nonasymptotic confidence sequences, 2021). Of a user who was moved to another arm only the answers of the
first one count.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from tidemill_inference.experiments.domain.plan import Measure, Measured
from tidemill_inference.rollouts.domain import evidence
from tidemill_inference.rollouts.domain.evidence import Bounds
from tidemill_inference.rollouts.domain.policy import StickyBy
from tidemill_inference.rollouts.domain.step_counts import Outcome, is_less
from tidemill_inference.rollouts.domain.values import GivenValue, SideValues, mature_times, side_values

NANOS = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What an arm has of a measure; where many scores differ, they are rounded down in `low`, and up in `high`."""

    measure: str
    low: SideValues = field(default_factory=SideValues)
    high: SideValues = field(default_factory=SideValues)
    difference: Bounds | None = None
    """Of the means, arm less control, at any time; None where it was not asked for, or a side has no value."""

    @property
    def mean(self) -> float | None:
        """The mean score."""
        return self.low.mean

    @property
    def number(self) -> float:
        """The effective number of users that it is of."""
        return self.low.number

    @property
    def immature(self) -> int:
        """Values that do not count yet."""
        return self.low.immature

    def with_difference(self, control: "Score", *, error: float) -> "Score":
        """Return it with the bounds of the difference."""
        if self.mean is None or control.mean is None:
            return self
        least = evidence.difference(self.low.samples, control.high.samples, error=error)
        most = evidence.difference(self.high.samples, control.low.samples, error=error)
        return replace(self, difference=Bounds(low=least.low, high=most.high))


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmCounts:
    """What counts of one arm."""

    answers: int = 0
    failures: int = 0
    users: int = 0
    goal: Score = field(default_factory=lambda: Score(measure=""))
    guardrails: tuple[Score, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What counts of all arms by their names, the control first, and when the next value matures."""

    arms: Mapping[str, ArmCounts]
    matures: datetime | None = None
    kept: int = 0
    """All outcomes of the run, also those of users who were moved, which do not count."""

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
        )


def counted(  # noqa: PLR0913 - keyword-only, and each of another kind
    outcomes: Sequence[Outcome],
    names: Sequence[str],
    *,
    goal: Measured,
    guardrails: Sequence[Measured],
    now: datetime,
    sticky_by: StickyBy = StickyBy.END_USER,
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
    matures = mature_times((value for each in outcomes for value in each.values), after=now)
    return Counts(
        arms={name: _arm(those, goal, guardrails, now) for name, those in by_arm.items()},
        matures=min(matures, default=None),
        kept=len(outcomes),
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


def _arm(outcomes: Sequence[Outcome], goal: Measured, guardrails: Sequence[Measured], now: datetime) -> ArmCounts:
    return ArmCounts(
        answers=len(outcomes),
        failures=sum(each.failed for each in outcomes),
        users=len({each.user or each.inference for each in outcomes}),
        goal=_score(outcomes, goal, now),
        guardrails=tuple(_score(outcomes, each, now) for each in guardrails),
    )


def _score(outcomes: Sequence[Outcome], measured: Measured, now: datetime) -> Score:
    given = list(_values(outcomes, measured))
    return Score(
        measure=measured.name,
        low=side_values(given, now, rounded=math.floor),
        high=side_values(given, now, rounded=math.ceil),
    )


def _values(outcomes: Sequence[Outcome], measured: Measured) -> Iterator[tuple[str, GivenValue]]:
    """Yield the scores of answers, each of the user who asked.

    What is said of an answer that a fallback gave says nothing of the arm, whose model failed.
    """
    for each in outcomes:
        match measured.measure:
            case Measure.METRIC:
                for value in each.values:
                    if value.metric == measured.metric and not each.failed:
                        yield each.inference, replace(value, user=each.user or value.user)
                continue
            case Measure.FAILURES:
                score = float(not each.failed)
            case Measure.LATENCY:
                score = 0.0 if each.failed else measured.score(each.total_s)
            case Measure.COST if not each.failed and each.cost_nanos is not None:
                score = measured.score(each.cost_nanos / NANOS)
            case _:
                continue
        yield each.inference, GivenValue(metric=measured.name, score=score, user=each.user)


def _with_differences(arm: ArmCounts, control: ArmCounts, error: float) -> ArmCounts:
    pairs = zip(arm.guardrails, control.guardrails, strict=True)
    return replace(
        arm,
        goal=arm.goal.with_difference(control.goal, error=error),
        guardrails=tuple(ours.with_difference(theirs, error=error) for ours, theirs in pairs),
    )
