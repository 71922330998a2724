"""Simulated experiments with results by cohort, which are read again and again while users come."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from random import Random

from tidemill_inference.experiments.domain.comparison import counted
from tidemill_inference.experiments.domain.plan import CohortPlan, Measured
from tidemill_inference.rollouts.domain.step_counts import Outcome
from tidemill_inference.rollouts.domain.values import GivenValue
from tidemill_testkit.clocks import NOON

ALPHA = 0.05
LABEL = "plan"
Likes = Callable[[Random, str, int], float]
"""Returns the score that a user of a cohort gives to an answer of an arm."""


def run(  # noqa: PLR0913 - keyword-only, and each of another kind
    likes: Likes, cohorts: Sequence[str], *, arms: int, users: int, seed: int, read_every: int = 100
) -> Mapping[str, int]:
    """Return the cohorts that were called different at any time, and how many users had come when they first were.

    Users are of all cohorts alike ("": of none), and have an arm by chance.
    """
    chance = Random(seed)  # noqa: S311 - no secret
    plan = CohortPlan(labels=(LABEL,), max_values=max(1, sum(map(bool, cohorts))))
    names = [str(arm) for arm in range(arms)]
    outcomes, different = list[Outcome](), dict[str, int]()
    for number in range(1, users + 1):
        cohort, arm = chance.choice(cohorts), chance.randrange(arms)
        outcomes.append(_answer(number, cohort, arm, likes(chance, cohort, arm)))
        if number % read_every:
            continue
        goal = Measured(metric="rating")
        found = counted(outcomes, names, goal=goal, guardrails=[], now=NOON, cohorts=plan).cohorts
        for (place, _), p_value in found.adjusted_p_values.items():
            if p_value <= ALPHA:
                different.setdefault(found.counts[place].value, number)
    return different


def _answer(number: int, cohort: str, arm: int, score: float) -> Outcome:
    user = f"u{number}"
    return Outcome(
        inference=user,
        rollout="sim@1",
        step=0,
        variant=str(arm),
        failed=False,
        total_s=1.0,
        values=(GivenValue(metric="rating", score=score, user=user),),
        user=user,
        cohorts={LABEL: cohort} if cohort else {},
        asked_at=NOON + timedelta(seconds=number),
    )
