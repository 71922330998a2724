"""Prints how often gates pass candidates that are no better, and how near the stated power is to the simulated one.

`python -m services.evaluator.tests.bench.gates`. Each row of the first table is of 1,000 simulated evaluations with
differences whose mean is 0, judged with `gain_above: 0` at 0.95: by all questions at the end, after each question,
and by the five first candidates on the same cases together. The second one has cases of users who like all answers
of a candidate or none, judged by case and by cluster, and eight slices by two metrics, of which any is wrong. The third
one states the power from differences that were seen, of 60 questions and of 4,000 (400,000 where few differ), and
simulates 4,000 evaluations beside it.
"""

import asyncio
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tests.bench._figures import report
from tidemill_core.multiplicity import holm
from tidemill_evaluator.evaluations.domain.clusters import TraitsByCase, averages, clusters_of, numbered
from tidemill_evaluator.evaluations.domain.power import Bound
from tidemill_evaluator.evaluations.domain.results import CaseAnswer, CaseResult
from tidemill_evaluator.gates.domain.dependence import DEFAULT
from tidemill_evaluator.gates.domain.spending import corrected_confidence
from tidemill_evaluator.statistics.intervals import log_gains, log_weights
from tidemill_evaluator.statistics.power import SimulatedPower
from tidemill_evaluator.suites.domain.cases import Case
from tidemill_kit.workers.fair_queue import FairQueue, QueueLimits

TIMES, SIZES, CANDIDATES = 1_000, (20, 40, 60), 5
CONFIDENCE, STATED, POWER = 0.95, 0.025, 0.8
PILOTS, SIMULATED = 12, 4_000
MANY: Mapping[str, int] = {"rare": 400_000}
"""Differences from which a spread is known; 4,000 show what is rare too seldom to know how often it comes."""
Draw = Callable[[np.random.Generator, tuple[int, int], float], Any]


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{line}\n")


def similar(chance: np.random.Generator, shape: tuple[int, int], gain: float) -> Any:  # noqa: ANN401 - numpy's arrays
    """Return differences around the gain, nearly normal."""
    return np.clip(chance.normal(gain, 0.2, shape), -1, 1)


def ties(chance: np.random.Generator, shape: tuple[int, int], gain: float) -> Any:  # noqa: ANN401 - ditto
    """Return equal answers for the most part, others right or wrong."""
    return chance.choice([0.0, 1.0, -1.0], shape, p=[0.8 - gain, 0.1 + gain, 0.1])


def skewed(chance: np.random.Generator, shape: tuple[int, int], gain: float) -> Any:  # noqa: ANN401 - ditto
    """Return many small losses and few large gains."""
    return chance.choice([-0.1, 0.9], shape, p=[0.9 - gain, 0.1 + gain])


def rare(chance: np.random.Generator, shape: tuple[int, int], gain: float) -> Any:  # noqa: ANN401 - ditto
    """Return nearly equal answers with few exceptions, one in fifty, which are right or wrong."""
    others = chance.choice([0.0, 1.0, -1.0], shape, p=[0.98, 0.01, 0.01])
    return np.clip(np.where(others, others, chance.normal(gain / 0.98, 0.02, shape)), -1, 1)


def clustered(chance: np.random.Generator, shape: tuple[int, int], gain: float) -> Any:  # noqa: ANN401 - ditto
    """Return the means of four cases that repeat a question, and have most in common."""
    common = chance.normal(gain, 0.25, shape)
    return np.clip(common[..., None] + chance.normal(0, 0.1, (*shape, 4)), -1, 1).mean(axis=-1)


KINDS: Mapping[str, Draw] = {"similar": similar, "ties": ties, "skewed": skewed, "clustered": clustered}
KNOWN: Sequence[tuple[str, Draw, float, Sequence[int]]] = (
    ("similar", similar, 0.12, SIZES[1:]),
    ("ties", ties, 0.2, SIZES[1:]),
    ("ties", ties, 0.3, SIZES[1:]),
    ("skewed", skewed, 0.15, SIZES[1:]),
    ("clustered", clustered, 0.12, SIZES[1:]),
    ("rare", rare, 0.06, (100, 150)),
)


def capitals(differences: Any, above: float) -> Any:  # noqa: ANN401 - ditto
    """Return the logarithm of the capital after each question, by evaluation."""
    gains = np.maximum(log_gains(differences[:, None, :], (above + 1) / 2), -1e3)
    return np.logaddexp.reduce(gains.cumsum(axis=-1) + log_weights()[:, None], axis=1)


def needed(confidence: float) -> float:
    """Return the capital that shows what is required."""
    return -math.log((1 - confidence) / 2)


def no_better() -> float:
    """Print how often candidates that are no better pass, and return the worst share at the end of an evaluation."""
    worst = 0.0
    say(f"{'differences':<12}{'questions':>10}{'at the end':>12}{'each':>10}{f'of {CANDIDATES}':>8}")
    for kind, draw in KINDS.items():
        for questions in SIZES:
            chance = np.random.default_rng(questions)
            runs = [capitals(draw(chance, (TIMES, questions), 0.0), 0.0) for _ in range(CANDIDATES)]
            end = (runs[0][:, -1] >= needed(CONFIDENCE)).mean()
            sequential = (runs[0].max(axis=1) >= needed(CONFIDENCE)).mean()
            levels = [needed(corrected_confidence(CONFIDENCE, number + 1)) for number in range(CANDIDATES)]
            together = np.any([run[:, -1] >= level for run, level in zip(runs, levels, strict=True)], axis=0).mean()
            worst = max(worst, float(end))
            say(f"{kind:<12}{questions:>10}{end:>12.3f}{sequential:>10.3f}{together:>8.3f}")
    say(f"stated: at most {STATED}, also where each question is checked; {1 - CONFIDENCE:.2f} of all candidates\n")
    return worst


def of_users(chance: np.random.Generator, users: int) -> tuple[Any, TraitsByCase]:
    """Return differences of cases, by evaluation, and what the cases share: a few users ask often, most seldom."""
    asked = np.repeat(np.arange(users), chance.geometric(0.25, users))
    likes = chance.choice([-0.4, 0.4], (TIMES, users))
    differences = likes[:, asked] + chance.uniform(-0.4, 0.4, (TIMES, len(asked)))
    cases = [
        Case(id=str(number), question=f"question {number}", reference="x", end_user=f"user {user}")
        for number, user in enumerate(asked)
    ]
    return differences, {("users", case): each for case, each in numbered(cases, DEFAULT).items()}


def means_of(differences: Sequence[float], traits: TraitsByCase) -> Sequence[float]:
    """Return the means of clusters, as an evaluation computes them."""
    results = [
        CaseResult(
            case_set="users",
            case=str(number),
            baseline=CaseAnswer(scores={"gain": 0.0}),
            candidate=CaseAnswer(scores={"gain": difference}),
        )
        for number, difference in enumerate(differences)
    ]
    return averages(clusters_of(results, traits, "gain"), lambda each: each.difference("gain"))


def dependent() -> float:
    """Print how often candidates that are no better pass where users are clusters, and return the worst share."""
    worst = 0.0
    say(f"{'users':<8}{'cases':>8}{'by case':>10}{'by cluster':>12}{'each':>8}{'gain of 0.2':>13}")
    for users in SIZES:
        differences, traits = of_users(np.random.default_rng(users), users)
        means = np.array([means_of(each, traits) for each in differences.tolist()])
        by_case = (capitals(differences, 0.0)[:, -1] >= needed(CONFIDENCE)).mean()
        run, better = capitals(means, 0.0), capitals(means + 0.2, 0.0)
        by_cluster, each, found = (
            float((capital >= needed(CONFIDENCE)).mean()) for capital in (run[:, -1], run.max(axis=1), better[:, -1])
        )
        worst = max(worst, by_cluster, each)
        cases = differences.shape[1]
        say(f"{users:<8}{cases:>8}{by_case:>10.3f}{by_cluster:>12.3f}{each:>8.3f}{found:>13.3f}")
    wrong = [sliced(np.random.default_rng(number)) for number in range(TIMES)]
    alone, together = (float(np.mean(each)) for each in zip(*wrong, strict=True))
    say(f"8 slices of 20 clusters by 2 metrics: any wrong {alone:.3f}, after Holm {together:.3f} (stated 0.05)\n")
    return max(worst, together / 2)


def sliced(chance: np.random.Generator) -> tuple[bool, bool]:
    """Return whether any of the slices of an equal candidate differs at 0.05, uncorrected and corrected."""
    one = chance.choice([-0.8, 0.8], (8, 20)) * chance.uniform(0, 1, (8, 20))
    both = np.concatenate([one, np.clip(one + chance.uniform(-0.1, 0.1, (8, 20)), -1, 1)])
    capital = np.maximum(capitals(both, 0.0)[:, -1], capitals(-both, 0.0)[:, -1])
    p_values = np.minimum(1.0, 2 * np.exp(-capital)).tolist()
    return min(p_values) <= 1 - CONFIDENCE, min(holm(p_values)) <= 1 - CONFIDENCE


async def stated_power() -> float:
    """Print the stated power beside the simulated one, and return the largest difference where much is known."""
    powers, worst = SimulatedPower(FairQueue("bench", QueueLimits(places=1))), 0.0
    say(f"{'differences':<12}{'questions':>10}{'gain':>6}{'simulated':>11}{'from many':>12}{'from 60':>20}")
    for kind, draw, gain, sizes in KNOWN:
        for questions in sizes:
            chance = np.random.default_rng(questions)
            shown = capitals(draw(chance, (SIMULATED, questions), gain), 0.0)[:, -1] >= needed(CONFIDENCE)
            bound = Bound(above=0.0, confidence=CONFIDENCE, clusters=questions)

            async def stated(size: int, draw: Draw = draw, gain: float = gain, bound: Bound = bound) -> float:
                known = draw(np.random.default_rng(size), (1, size), gain)[0].tolist()
                return (await powers.of(known, bound, gain=gain, power=POWER)).of_gain

            much = await stated(MANY.get(kind, 4_000))
            few = [await stated(60 + number) for number in range(PILOTS)]
            low, high = np.quantile(few, (0.1, 0.9))
            worst = max(worst, abs(much - float(shown.mean())))
            spread = f"{np.median(few):.2f} ({low:.2f} to {high:.2f})"
            say(f"{kind:<12}{questions:>10}{gain:>6}{shown.mean():>11.3f}{much:>12.3f}{spread:>20}")
    return worst


def main() -> None:
    """Print all tables."""
    passed = max(no_better(), dependent())
    error = asyncio.run(stated_power())
    report("gates_passed_by_chance", passed, "")
    report("gates_power_error", error, "")
    say(f"\npassed by chance at most {passed:.3f} (bar {STATED}); stated power off by at most {error:.3f} (bar 0.05)")


if __name__ == "__main__":
    main()
