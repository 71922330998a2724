"""Tests of confidence intervals."""

import pytest
from scipy.stats import binomtest

from tidemill_core.intervals import share_interval


@pytest.mark.parametrize(
    ("found", "number"), [(0, 1), (1, 1), (0, 10), (5, 10), (19, 20), (20, 20), (1, 1000), (600, 1000)]
)
def test_the_interval_of_a_share_is_that_of_scipy(found: int, number: int) -> None:
    expected = binomtest(found, number).proportion_ci(method="wilson")

    assert share_interval(found / number, number) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_share_of_one_by_rounding_has_an_interval() -> None:
    low, high = share_interval(1.0000000000000002, 12.5)

    assert 0 < low < high == 1.0
