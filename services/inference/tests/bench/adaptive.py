"""Whether adaptive weights spare users the worse arms, and whether arms are wrongly called the best.

    python -m services.inference.tests.bench.adaptive [RUNS [ROW ...]]

Simulated users come one after another, each with one answer that they like or not; each row is of so many experiments
with equal weights, and of as many with adaptive ones. `wrong` is how often an arm is called the best that is not, at
any of the checks after every 50 users: of equal arms every best is wrong, and alpha is 0.05. `found` is how often the
best arm is found before all users have come. `worse` compares how many users had a worse arm while all came, by the
weights at the verdict from then on, and `until best` those who had one before it, to those with equal weights.
"""

import sys
from collections.abc import Sequence

from services.inference.tests.experiments.simulated import Ended, run

RUNS = 40
USERS = 800
ROWS = {
    "equal arms": (0.5, 0.5),
    "0.5 and 0.65": (0.5, 0.65),
    "0.4 and 0.6": (0.4, 0.6),
    "0.4, 0.4, 0.5, 0.65": (0.4, 0.4, 0.5, 0.65),
    "four equal arms": (0.5, 0.5, 0.5, 0.5),
}
Numbers = Sequence[Sequence[int]]


def main() -> None:
    """Print a row for each kind."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    for name in sys.argv[2:] or ROWS:
        likes = ROWS[name]
        sides = [
            [run(likes, users=USERS, seed=seed, adaptive=adaptive) for seed in range(runs)]
            for adaptive in (False, True)
        ]
        sys.stdout.write(f"{name:<22}{_shown(sides[0], likes)} | adaptive {_shown(sides[1], likes)}")
        if len(set(likes)) > 1:
            for what in ("users", "until_best"):
                equal, adaptive = (_worse([getattr(each, what) for each in side], likes) for side in sides)
                sys.stdout.write(f" | {'worse' if what == 'users' else 'until best'} {adaptive / equal:.2f}")
        sys.stdout.write("\n")
        sys.stdout.flush()


def _shown(ended: Sequence[Ended], likes: Sequence[float]) -> str:
    best = "" if len(set(likes)) == 1 else str(likes.index(max(likes)))
    wrong = sum(each.best not in {"", best} for each in ended) / len(ended)
    found = sum(bool(each.best) and each.best == best for each in ended) / len(ended)
    return f"{100 * wrong:.1f} % wrong, {100 * found:.0f} % found"


def _worse(numbers: Numbers, likes: Sequence[float]) -> int:
    return sum(count for each in numbers for count, like in zip(each, likes, strict=True) if like < max(likes))


if __name__ == "__main__":
    main()
