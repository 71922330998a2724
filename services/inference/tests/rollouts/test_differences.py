"""Bounds of what is compared in a rollout, which hold whenever they are computed."""

from collections import Counter
from dataclasses import replace
from math import log
from random import Random

import pytest

from services.inference.tests.rollouts.rolling import counted, outcomes
from tidemill_inference.rollouts.domain.evidence import Bounds, RatioBounds, difference, less, median_ratio
from tidemill_inference.rollouts.domain.step_counts import CANDIDATE, FALSE_ABORTS, LIVE
from tidemill_inference.rollouts.domain.values import MetricCounts


def votes(up: int, down: int) -> dict[float, dict[float, int]]:
    return {1.0: {1.0: up, 0.0: down}}


def test_without_a_vote_any_difference_may_be() -> None:
    assert difference({}, {}, error=0.05) == Bounds(low=-1.0, high=1.0)


@pytest.mark.parametrize(
    ("ours", "theirs"), [((90, 10), (30, 70)), ((30, 70), (90, 10)), ((50, 50), (50, 50)), ((8, 0), (0, 8))]
)
def test_bounds_hold_what_was_seen_and_mirror_when_the_sides_change(
    ours: tuple[int, int], theirs: tuple[int, int]
) -> None:
    found = difference(votes(*ours), votes(*theirs), error=0.05)
    seen = ours[0] / sum(ours) - theirs[0] / sum(theirs)

    assert found.low <= seen <= found.high
    assert difference(votes(*theirs), votes(*ours), error=0.05) == Bounds(low=-found.high, high=-found.low)


def test_more_votes_narrow_them() -> None:
    few, many = (difference(votes(8 * n, 2 * n), votes(5 * n, 5 * n), error=0.05) for n in (4, 40))

    assert few.low < many.low < 0.3 < many.high < few.high


def test_bounds_of_the_same_values_are_computed_once() -> None:
    found = difference(votes(21, 4), votes(20, 5), error=0.05)

    assert difference({1.0: {0.0: 4, 1.0: 21}}, votes(20, 5), error=0.05) is found


@pytest.mark.parametrize("by", [0.0, 0.1, 0.2])
@pytest.mark.parametrize("up", [40, 50, 60, 70])
def test_what_takes_a_candidate_back_is_what_the_bound_excludes(up: int, by: float) -> None:
    """A loss of more than `by` is shown where the upper bound, wrong with the same probability, is not above -by."""
    ours, theirs = votes(up, 100 - up), votes(80, 20)
    shown = less(ours, theirs, by=by) >= -log(FALSE_ABORTS)

    assert (difference(ours, theirs, error=2 * FALSE_ABORTS).high <= -by) is shown


@pytest.mark.heavy
def test_bounds_that_are_computed_again_and_again_are_not_wrong_more_often() -> None:
    """12 steps of two equal sides, with bounds after every 20 of 120 votes, which are wrong in 5 % of steps at most."""

    def wrong(seed: int) -> bool:
        chance, sides = Random(seed), (Counter[float](), Counter[float]())  # noqa: S311 - no secret
        for number in range(120):
            sides[number % 2][float(chance.random() < 0.7)] += 1
            if number % 20 == 19:
                bounds = difference({1.0: sides[0]}, {1.0: sides[1]}, error=0.05)
                if not bounds.low <= 0.0 <= bounds.high:
                    return True
        return False

    assert not any(map(wrong, range(12)))


def test_the_ratio_of_medians_is_within_its_bounds_which_mirror_and_narrow() -> None:
    chance = Random(5)  # noqa: S311 - no secret
    times = [chance.lognormvariate(0.0, 0.3) for _ in range(120)]
    slow = [2 * time for time in times]

    few, many = (median_ratio(slow[:n], times[:n], error=0.05) for n in (15, 120))
    mirrored = median_ratio(times, slow, error=0.05)

    assert few is not None
    assert many is not None
    assert few.high is None or few.high > (many.high or 0.0)
    assert few.low < many.low < 2.0 < (many.high or 0.0) < 3.0
    assert many.low > 1.4
    assert mirrored is not None
    assert (mirrored.low, mirrored.high) == pytest.approx((1 / (many.high or 1.0), 1 / many.low))


def test_a_ratio_of_times_of_one_side_alone_is_not_known() -> None:
    assert median_ratio([], [1.0], error=0.05) is None
    assert median_ratio([1.0], [1.0], error=0.05) == RatioBounds(low=0.0, high=None)


def test_counts_have_the_bounds_of_failures_ratings_and_metrics_where_both_sides_have_any() -> None:
    counts = counted(outcomes(LIVE, 40, rating=0.9), outcomes(CANDIDATE, 40, failed=20, rating=0.1))
    counts = replace(counts, metrics=(MetricCounts(metric="solved"),))

    found = counts.with_differences()

    assert counts.failure_difference is None
    assert found.failure_difference is not None
    assert found.rating_difference is not None
    assert found.failure_difference.low > 0.1
    assert found.rating_difference.high < -0.3
    assert found.metrics[0].difference is None
    assert found.latency_ratio is not None
    assert found.latency_ratio.low < 1.0
    assert counted([], outcomes(CANDIDATE, 5)).with_differences().failure_difference is None
