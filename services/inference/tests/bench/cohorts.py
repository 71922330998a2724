"""How often a cohort of an experiment is called different that is not, and how many users it takes to see one that is.

    python -m services.inference.tests.bench.cohorts [RUNS [ROW ...]]

Simulated users of five values of a label, or of none, come one after another; results are read after every 100 of
them. `wrong` is how often the adjusted p-value of any cohort without a difference is ever at most 0.05; bounds, which
are wider, exclude 0 less often. `found` is how often the cohort `a` that differs is called so by then, and `after` the
median number of all users that had come. The last line is what counting takes: 100,000 answers with no, one and two
labels.
"""

import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from random import Random
from statistics import median

from services.inference.tests.experiments.simulated_cohorts import Likes, run
from tidemill_inference.experiments.domain.comparison import counted
from tidemill_inference.experiments.domain.plan import CohortPlan, Measure, Measured
from tidemill_inference.rollouts.domain.step_counts import Outcome
from tidemill_testkit.clocks import NOON

RUNS = 200
COHORTS = ("a", "b", "c", "d", "e", "")
ANSWERS = 100_000


def liked(shares: Mapping[str, float]) -> Likes:
    """Return answers that are liked by half, or by what is said of arm 1 in a cohort."""

    def score(chance: Random, cohort: str, arm: int) -> float:
        return float(chance.random() < (shares.get(cohort, 0.5) if arm == 1 else 0.5))

    return score


def skewed(chance: Random, cohort: str, arm: int) -> float:
    """Return money that few spend: most nothing, some little, few much; whatever cohort and arm."""
    assert cohort is not None
    assert arm >= 0
    return 0.0 if chance.random() < 0.7 else round(min(1.0, chance.expovariate(8.0)), 2)


ROWS: Mapping[str, tuple[Likes, int, int]] = {
    "equal, 2 arms": (liked({}), 2, 1500),
    "equal, 3 arms": (liked({}), 3, 1500),
    "equal, skewed": (skewed, 2, 1500),
    "a: 0.5 and 0.8": (liked({"a": 0.8}), 2, 3000),
    "a: 0.5 and 0.8, b: 0.5 and 0.2": (liked({"a": 0.8, "b": 0.2}), 2, 3000),
}
"""By name, in which cohorts that differ are followed by a colon: what is liked, arms and users."""


def main() -> None:
    """Print a row for each kind."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    for name in sys.argv[2:] or ROWS:
        likes, arms, users = ROWS[name]
        differs = {each for each in COHORTS if each and f"{each}:" in name}
        seen = [run(likes, COHORTS, arms=arms, users=users, seed=seed) for seed in range(runs)]
        wrong = sum(bool({*found} - differs) for found in seen) / runs
        sys.stdout.write(f"{name:<32} wrong {100 * wrong:.1f} %")
        if after := [found["a"] for found in seen if differs and "a" in found]:
            sys.stdout.write(f" | found {100 * len(after) / runs:.0f} % after {median(after):.0f}")
        sys.stdout.write("\n")
        sys.stdout.flush()
    sys.stdout.write(f"{ANSWERS} answers: {_counting()}\n")


def _counting() -> str:
    chance = Random(1)  # noqa: S311 - no secret
    outcomes = [
        Outcome(
            inference=f"i{number}",
            rollout="sim@1",
            step=0,
            variant=str(number % 2),
            failed=chance.random() < 0.1,
            total_s=chance.random(),
            user=f"u{number // 3}",
            cohorts={"plan": chance.choice("abcdefgh"), "country": chance.choice("xyz")},
            asked_at=NOON + timedelta(seconds=number),
        )
        for number in range(ANSWERS)
    ]
    latency = Measured(measure=Measure.LATENCY, worst=1.0)
    shown = []
    for labels in ((), ("plan",), ("plan", "country")):
        began = time.process_time()
        counts = counted(
            outcomes,
            ["0", "1"],
            goal=Measured(measure=Measure.FAILURES),
            guardrails=[latency],
            now=NOON,
            cohorts=CohortPlan(labels=labels),
        )
        between = time.process_time()
        counts.with_differences(error=0.05)
        ended = time.process_time()
        shown.append(f"{len(labels)} labels counted {between - began:.2f} s, compared {ended - between:.2f} s")
    return "; ".join(shown)


if __name__ == "__main__":
    main()
