import random
import subprocess
import sys
from collections.abc import Callable

import pytest

from tidemill_evaluator.gates.domain.spending import corrected_confidence
from tidemill_evaluator.statistics.intervals import BettingIntervals

INTERVALS = BettingIntervals()


async def test_a_clear_gain_has_its_interval_above_zero_and_around_the_mean() -> None:
    differences = [0.4, 0.5, 0.6, 0.3, 0.7, 0.5, 0.45, 0.55] * 6

    interval = await INTERVALS.of_mean(differences, confidence=0.95, bounded=True)

    assert 0.3 < interval.low < sum(differences) / len(differences) < interval.high < 0.8


async def test_the_order_does_not_matter_and_more_confidence_makes_the_interval_wider() -> None:
    differences = [0.1, -0.2, 0.5, 0.0, 0.3, 0.9, -0.1]

    one = await INTERVALS.of_mean(differences, confidence=0.9, bounded=True)
    same = await INTERVALS.of_mean(differences[::-1], confidence=0.9, bounded=True)
    wider = await INTERVALS.of_mean(differences, confidence=0.99, bounded=True)

    assert one == same
    assert wider.low < one.low
    assert one.high < wider.high


async def test_a_lower_bound_for_a_loss_is_the_upper_one_for_a_gain() -> None:
    gain = await INTERVALS.of_mean([0.3, 0.4, 0.0, 0.5] * 5, confidence=0.95, bounded=True)
    loss = await INTERVALS.of_mean([-0.3, -0.4, 0.0, -0.5] * 5, confidence=0.95, bounded=True)

    assert (loss.low, loss.high) == (-gain.high, -gain.low)


@pytest.mark.parametrize(
    ("differences", "above", "below"),
    [
        ([0.3, 0.5, 0.7, 0.9, 1.0, 0.8] * 10, 0.45, 0.7),  # sixty pairs with a clear gain
        ([0.0] * 24 + [1.0] * 36, 0.35, 0.6),  # the same, of answers that are right or wrong
        ([0.0] * 57 + [1.0] * 3, -0.1, 0.0),  # three better answers among ties show nothing
        ([0.0] * 60, -0.15, -0.02),  # nor do sixty equal ones that a sixty-first may not be much worse
        ([0.5, 0.5], -1.0, -0.5),  # two pairs say next to nothing, however alike they are
        ([1.0], -1.0, -0.9),
    ],
)
async def test_the_lower_bound_says_no_more_than_the_cases_show(
    differences: list[float], above: float, below: float
) -> None:
    low = (await INTERVALS.of_mean(differences, confidence=0.95, bounded=True)).low

    assert above <= low < below


def _of_mean_zero(name: str) -> Callable[[random.Random], float]:
    """Return random values in [-1, 1] with mean 0."""
    match name.split():
        case ["normal"]:
            return lambda chance: max(-1.0, min(1.0, chance.gauss(0, 0.2)))
        case ["rarely", "much", "worse", share]:
            rare = float(share)
            return lambda chance: -1.0 if chance.random() < rare else rare / (1 - rare)
        case ["ties", share]:
            return lambda chance: 0.0 if chance.random() < float(share) else max(-1.0, min(1.0, chance.gauss(0, 0.2)))
        case ["flips", share]:
            return lambda chance: 0.0 if chance.random() < float(share) else chance.choice([-1.0, 1.0])
    raise AssertionError(name)


@pytest.mark.parametrize("size", [2, 10, 60])
@pytest.mark.parametrize(
    "name",
    ["normal", "rarely much worse 0.05", "rarely much worse 0.2", "ties 0.8", "ties 0.95", "flips 0.0", "flips 0.9"],
)
async def test_a_candidate_that_is_no_better_passes_no_more_often_than_is_said(name: str, size: int) -> None:
    chance, draw, repeats = random.Random(7), _of_mean_zero(name), 200  # noqa: S311 - no secret

    passed = 0
    for _ in range(repeats):
        differences = [draw(chance) for _ in range(size)]
        passed += (await INTERVALS.of_mean(differences, confidence=0.95, bounded=True)).low > 0

    assert passed <= 10  # of 200: 2.5 % are 5, and 11 or more would come once in eighty such tests


@pytest.mark.parametrize(
    ("differences", "above", "number", "needed"),
    [
        ([1.0] * 10, 0.0, 3, 10),  # enough for the third candidate
        ([1.0] * 10, 0.0, 4, 11),
        ([1.0] * 10, 0.0, 100, 20),
        ([0.2] * 10, 0.0, 1, 26),  # of a baseline that leaves little to gain
        ([0.0] * 60, 0.0, 1, 0),  # or nothing
        ([0.1] * 60, 0.2, 1, 0),
        ([0.0] * 60, -0.02, 1, 228),
        ([1.0] * 60, 1.5, 1, 0),
        ([0.0], -3.0, 1, 1),
    ],
)
async def test_as_many_questions_as_are_needed_are_enough_and_one_less_is_not(
    differences: list[float], above: float, number: int, needed: int
) -> None:
    confidence = corrected_confidence(0.95, number)

    found = await INTERVALS.needed(differences, above=above, confidence=confidence)

    assert found == needed
    for count, enough in [(needed, True), (needed - 1, False)] if needed > len(differences) else []:
        alike = [differences[0]] * count
        assert ((await INTERVALS.of_mean(alike, confidence=confidence, bounded=True)).low > above) is enough


@pytest.mark.parametrize("value", [0.0, 123.0])
async def test_lengths_that_all_differ_alike_have_that_point_for_an_interval(value: float) -> None:
    interval = await INTERVALS.of_mean([value] * 37, confidence=0.95, bounded=False)

    assert [interval.low, interval.high] == pytest.approx([value, value])


async def test_lengths_have_students_interval() -> None:
    interval = await INTERVALS.of_mean([10.0, 20.0, 30.0, 40.0], confidence=0.95, bounded=False)

    half = 3.182446 * 12.909944 / 2  # t of three degrees of freedom, standard deviation, root of four
    assert [interval.low, interval.high] == pytest.approx([25 - half, 25 + half], abs=1e-4)


def test_a_service_at_rest_has_no_statistics_in_memory() -> None:
    program = "import sys, tidemill_evaluator.app; print({'numpy', 'scipy', 'nltk', 'rouge_score'} & set(sys.modules))"

    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)  # noqa: S603 - our own interpreter

    assert answer.stdout.strip() == "set()"
