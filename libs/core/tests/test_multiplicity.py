"""P-values that are corrected for their number."""

import pytest

from tidemill_core.multiplicity import holm


@pytest.mark.parametrize(
    ("given", "adjusted"),
    [  # of R, p.adjust(..., "holm")
        ([0.01, 0.02, 0.03, 0.04, 0.05], [0.05, 0.08, 0.09, 0.09, 0.09]),
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5, 0.9, 0.4], [1.0, 1.0, 1.0]),
        ([0.2], [0.2]),
        ([], []),
    ],
)
def test_p_values_are_adjusted_as_by_holm(given: list[float], adjusted: list[float]) -> None:
    assert holm(given) == pytest.approx(adjusted)


def test_those_that_may_still_come_count_as_if_they_were_there() -> None:
    given = [0.01, 0.04, 0.03]

    assert holm(given, family=5) == pytest.approx(holm([*given, 1.0, 1.0])[:3])
