import random
from collections.abc import Callable, Sequence
from statistics import stdev

import pytest

from tidemill_evaluator.evaluations.domain.power import Bound
from tidemill_evaluator.statistics.intervals import BettingIntervals
from tidemill_evaluator.statistics.power import ASSUMED_DEVIATION, SimulatedPower
from tidemill_kit.workers.fair_queue import FairQueue, QueueLimits

POWERS = SimulatedPower(FairQueue("tests", QueueLimits(places=1)))
Draw = Callable[[random.Random, float], float]


def right_or_wrong(chance: random.Random, gain: float) -> float:
    """Most answers are equal, a tenth is worse, and the rest is better: mostly ties."""
    return chance.choices([0.0, 1.0, -1.0], [0.8 - gain, 0.1 + gain, 0.1])[0]


def rare(chance: random.Random, gain: float) -> float:
    """Nearly all answers are equal, and one in two hundred is worse, or better."""
    return chance.choices([gain, 1.0, -1.0], [0.99, 0.005, 0.005])[0]


def similar(chance: random.Random, gain: float) -> float:
    return max(-1.0, min(1.0, chance.gauss(gain, 0.2)))


async def simulated(draw: Draw, bound: Bound, gain: float, *, times: int) -> float:
    """Return how often the interval that judges evaluations shows the gain."""
    chance, intervals = random.Random(5), BettingIntervals()  # noqa: S311 - no secret
    shown = 0
    for _ in range(times):
        differences = [draw(chance, gain) for _ in range(bound.clusters)]
        found = await intervals.of_mean(differences, confidence=bound.confidence, bounded=True)
        shown += found.low > bound.above
    return shown / times


@pytest.mark.parametrize(
    ("draw", "gain", "above", "questions"),
    [(right_or_wrong, 0.3, 0.0, 40), (similar, 0.12, 0.0, 60), (similar, 0.1, -0.02, 60), (rare, 0.045, 0.0, 150)],
)
async def test_the_stated_power_is_that_of_simulated_evaluations(
    draw: Draw, gain: float, above: float, questions: int
) -> None:
    chance, bound = random.Random(3), Bound(above=above, confidence=0.95, clusters=questions)  # noqa: S311 - no secret
    known = [draw(chance, gain) for _ in range(4000)]

    stated = await POWERS.of(known, bound, gain=gain, power=0.8)

    assert stated.of_gain == pytest.approx(await simulated(draw, bound, gain, times=100), abs=0.12)


async def test_a_larger_gain_and_more_questions_have_more_power() -> None:
    known = [0.3, -0.2, 0.0, 0.0, 0.5, -0.4, 0.1, 0.0, 0.2, -0.1] * 2

    async def power(questions: int, gain: float) -> float:
        bound = Bound(above=0.0, confidence=0.95, clusters=questions)
        return (await POWERS.of(known, bound, gain=gain, power=0.8)).of_gain

    gains = [await power(60, gain) for gain in (0.0, 0.05, 0.1, 0.2)]
    counts = [await power(questions, 0.1) for questions in (20, 60, 200)]
    assert gains == sorted(gains)
    assert counts == sorted(counts)
    assert gains[0] <= 0.025
    assert gains[-1] > 0.9


async def test_rare_differences_among_many_are_not_lost() -> None:
    chance, bound = random.Random(7), Bound(above=0.0, confidence=0.95, clusters=2000)  # noqa: S311 - no secret
    known = [-1.0] * 10 + [chance.gauss(0, 0.02) for _ in range(1990)]
    in_hundredths = [round(each, 2) for each in known]

    stated = await POWERS.of(known, bound, gain=0.005, power=0.8)
    by_value = await POWERS.of(in_hundredths, bound, gain=0.005, power=0.8)

    assert len(set(known)) > 100 > len(set(in_hundredths))
    assert stated.deviation == pytest.approx(stdev(known))
    assert stated.of_gain == pytest.approx(by_value.of_gain, abs=0.02)
    assert stated.needed == pytest.approx(by_value.needed, rel=0.05)


@pytest.mark.parametrize("known", [[0.5], [1.0, 0.9], [0.02, -0.02] * 9, [0.0] * 60])
async def test_few_differences_or_all_alike_are_not_taken_for_how_they_vary(known: Sequence[float]) -> None:
    bound = Bound(above=0.0, confidence=0.95, clusters=20)

    found = await POWERS.of(known, bound, gain=0.4, power=0.8)

    assert found == await POWERS.of([], bound, gain=0.4, power=0.8)
    assert (found.assumed, found.deviation) == (True, ASSUMED_DEVIATION)


async def test_twenty_differences_say_how_they_vary() -> None:
    known, bound = [0.2, -0.2] * 10, Bound(above=0.0, confidence=0.95, clusters=60)

    found = await POWERS.of(known, bound, gain=0.1, power=0.8)

    assert not found.assumed
    assert found.deviation == pytest.approx(stdev(known))


async def test_what_is_detectable_and_what_is_needed_have_the_power_asked_for() -> None:
    known, bound = [0.4, -0.4, 0.0, 0.2, -0.2] * 4, Bound(above=0.0, confidence=0.95, clusters=60)

    found = await POWERS.of(known, bound, gain=0.05, power=0.8)
    assert found.detectable_gain is not None
    at_gain = await POWERS.of(known, bound, gain=found.detectable_gain, power=0.8)
    with_more = await POWERS.of(known, bound.of(found.needed), gain=0.05, power=0.8)

    assert at_gain.of_gain == pytest.approx(0.8, abs=0.01)
    assert found.needed > 60
    assert 0.8 <= with_more.of_gain < 0.85


@pytest.mark.parametrize(
    ("known", "gain", "above", "questions", "needed", "detectable"),
    [
        ([0.1, -0.1] * 10, 0.0, 0.0, 60, 0, True),  # no gain is above 0, whatever the cases
        ([0.1, -0.1] * 10, 0.05, 0.1, 60, 0, True),  # nor is one of 0.05 above 0.1
        ([0.1, -0.1] * 10, 0.05, 0.0, 3, None, False),  # three questions show nothing
        ([0.0] * 20, -0.5, -1.0, 3, 1, True),  # everything is above the least there is
        ([], 0.05, 0.0, 60, None, True),
    ],
)
async def test_what_no_number_of_questions_shows_needs_none(  # noqa: PLR0913 - a table
    known: Sequence[float], gain: float, above: float, questions: int, needed: int | None, *, detectable: bool
) -> None:
    bound = Bound(above=above, confidence=0.95, clusters=questions)

    found = await POWERS.of(known, bound, gain=gain, power=0.8)

    assert found.needed == needed if needed is not None else found.needed > questions
    assert (found.detectable_gain is not None) is detectable
    if not known:
        assert found.deviation == pytest.approx(ASSUMED_DEVIATION, abs=0.01)
