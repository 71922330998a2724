"""How often a rollout takes back a candidate that is as good as the baseline, however often it is checked.

    python -m services.inference.tests.bench.false_aborts [OUTCOMES ...]

Each row is of 1,000 simulated steps of 160 answers, half of them the candidate's, whose abort rules are asked after
every sixteenth answer: `taken back` is to be at most FALSE_ABORTS, but for few users with many answers of which
failures and times are read, as the rules claim it of independent answers only. `excluded` is how often the bounds of a
difference leave out 0, or those of a ratio 1, at any of these times, of 100 steps. The last column has a candidate that
is clearly worse.
"""

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random

from tests.bench._figures import report
from tidemill_inference.rollouts.domain.policy import RATING, AbortRules, MetricRule, RolloutStep
from tidemill_inference.rollouts.domain.step_counts import CANDIDATE, FALSE_ABORTS, LIVE, Outcome, StepCounts
from tidemill_inference.rollouts.domain.values import GivenValue

STEPS, EXCLUDED_OF, WORSE_OF, ANSWERS, CHECK_EVERY = 1000, 100, 100, 160, 16
STEP = RolloutStep(weight=50, requests=ANSWERS, at_least=10)
Made = Callable[[Random, int, bool], Outcome]
"""Return an answer by its number, and whether it is of a candidate that is worse."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Outcomes of one kind, and the rules that read them."""

    rules: AbortRules
    users: Callable[[Random], Made]
    """Return what makes the answers of one step, to users of its own."""
    claimed: bool = True
    """Whether what is stated holds for such outcomes."""


def each_another(made: Made) -> Callable[[Random], Made]:
    """Return that the answers of all steps are made like this."""
    return lambda _chance: made


def _outcome(number: int, *values: GivenValue, failed: bool = False, total_s: float = 1.0) -> Outcome:
    variant = CANDIDATE if number % 2 else LIVE
    return Outcome(
        inference=str(number), rollout="r", step=0, variant=variant, failed=failed, total_s=total_s, values=values
    )


def vote(chance: Random, number: int, worse: bool) -> Outcome:  # noqa: FBT001 - as `Made` says
    """Return an answer that its user likes, or not: each has another user."""
    return _outcome(number, GivenValue(metric=RATING, score=float(chance.random() < (0.4 if worse else 0.8))))


TASTES = [Random(number).betavariate(2, 1) for number in range(20)]  # noqa: S311 - no secret


def often(chance: Random, number: int, worse: bool) -> Outcome:  # noqa: FBT001 - ditto
    """Return an answer to one of 40 users, with the same tastes on both sides; some values weigh more."""
    user = chance.randrange(20) * 2 + number % 2
    taste = TASTES[user // 2]
    liked = chance.random() < (taste / 3 if worse else taste)
    value = GivenValue(
        metric="solved", score=float(liked), weight=3.0 if chance.random() < 0.2 else 1.0, user=f"u{user}"
    )
    return _outcome(number, value)


def sale(chance: Random, number: int, worse: bool) -> Outcome:  # noqa: FBT001 - ditto
    """Return an answer that was followed by a sale, seldom a large one: many values, most of them 0."""
    sold = chance.random() < (0.05 if worse else 0.3)
    return _outcome(number, GivenValue(metric="solved", score=chance.random() if sold else 0.0))


def failure(chance: Random, number: int, worse: bool) -> Outcome:  # noqa: FBT001 - ditto
    """Return an answer that failed, or not."""
    return _outcome(number, failed=chance.random() < (0.3 if worse else 0.02))


def slow(chance: Random, number: int, worse: bool) -> Outcome:  # noqa: FBT001 - ditto
    """Return an answer whose time is spread as times are."""
    return _outcome(number, total_s=chance.lognormvariate(0.0, 0.5) * (2.5 if worse else 1.0))


def all_of_them(chance: Random, number: int, worse: bool) -> Outcome:  # noqa: FBT001 - ditto
    """Return an answer that may fail, takes its time, and is rated."""
    rated = vote(chance, number, worse).values
    failed = chance.random() < (0.3 if worse else 0.02)
    return _outcome(number, *rated, failed=failed, total_s=chance.lognormvariate(0.0, 0.5))


USERS = 20
"""Each has one side, as with `sticky_by: END_USER`, and eight answers."""


def failing(chance: Random) -> Made:
    """Return what makes answers to users of whom one in ten asks what fails four times in five."""
    rates = [0.8 if chance.random() < 0.1 else 0.0 for _ in range(USERS)]

    def made(chance: Random, number: int, worse: bool) -> Outcome:  # noqa: FBT001 - as `Made` says
        user = chance.randrange(USERS // 2) * 2 + number % 2
        return _outcome(number, failed=chance.random() < max(rates[user], 0.3 if worse else 0.0))

    return made


def lengthy(chance: Random) -> Made:
    """Return what makes answers to users who differ in how long theirs are."""
    spans = [chance.lognormvariate(0.0, 0.6) for _ in range(USERS)]

    def made(chance: Random, number: int, worse: bool) -> Outcome:  # noqa: FBT001 - ditto
        user = chance.randrange(USERS // 2) * 2 + number % 2
        return _outcome(number, total_s=spans[user] * chance.lognormvariate(0.0, 0.2) * (2.5 if worse else 1.0))

    return made


SOLVED = AbortRules(metrics=(MetricRule(metric="solved", loss_above=0.0),))
KINDS: Mapping[str, Kind] = {
    "votes": Kind(rules=AbortRules(rating_loss_above=0.0), users=each_another(vote)),
    "users who vote often": Kind(rules=SOLVED, users=each_another(often)),
    "sales": Kind(rules=SOLVED, users=each_another(sale)),
    "failures": Kind(rules=AbortRules(error_rate_above=0.02), users=each_another(failure)),
    "times": Kind(rules=AbortRules(latency_p95_ratio_above=1.0), users=each_another(slow)),
    "failures of few users": Kind(rules=AbortRules(error_rate_above=0.08), users=failing, claimed=False),
    "times of few users": Kind(rules=AbortRules(latency_p95_ratio_above=1.0), users=lengthy, claimed=False),
    "all rules": Kind(
        rules=AbortRules(error_rate_above=0.02, latency_p95_ratio_above=1.0, rating_loss_above=0.0),
        users=each_another(all_of_them),
    ),
}


def checks(kind: Kind, seed: int, *, worse: bool = False) -> Iterator[StepCounts]:
    """Yield what is counted at each check of one step."""
    chance, seen = Random(seed), list[Outcome]()  # noqa: S311 - no secret
    made = kind.users(chance)
    for number in range(ANSWERS):
        seen.append(made(chance, number, worse and number % 2 == 1))
        if number % CHECK_EVERY == CHECK_EVERY - 1:
            yield StepCounts.of(seen, shadow=False, metrics=kind.rules.metrics)


def taken_back(kind: Kind, seed: int, *, worse: bool = False) -> bool:
    """Return whether any check takes the candidate back."""
    return any(counts.abort(STEP, kind.rules) for counts in checks(kind, seed, worse=worse))


def excluded(kind: Kind, seed: int) -> bool:
    """Return whether the bounds of any difference leave out 0 at any check."""
    found = (counts.with_differences() for counts in checks(kind, seed))
    return any(
        (bounds and not bounds.low <= 0.0 <= bounds.high)
        or (ratio and not ratio.low <= 1.0 <= (ratio.high or math.inf))
        for each in found
        for ratio in [each.latency_ratio]
        for bounds in (each.failure_difference, each.rating_difference, *(m.difference for m in each.metrics))
    )


def main() -> None:
    """Print a row for each kind."""
    worst = 0.0
    sys.stdout.write(f"{'outcomes':<24}{'taken back':>12}{'excluded':>10}{'worse taken back':>18}\n")
    for name in sys.argv[1:] or KINDS:
        kind = KINDS[name]
        share = sum(taken_back(kind, seed) for seed in range(STEPS)) / STEPS
        outside = sum(excluded(kind, seed) for seed in range(EXCLUDED_OF)) / EXCLUDED_OF
        power = sum(taken_back(kind, seed, worse=True) for seed in range(WORSE_OF)) / WORSE_OF
        worst = max(worst, share) if kind.claimed else worst
        sys.stdout.write(f"{name:<24}{share:>12.3f}{outside:>10.3f}{power:>18.2f}\n")
        sys.stdout.flush()
    report("rollouts_taken_back_by_chance", worst, "")
    sys.stdout.write(f"\ntaken back at most {worst:.3f} (bar {FALSE_ABORTS})\n")


if __name__ == "__main__":
    main()
