"""How often candidates that are no better pass, in simulated evaluations; the random numbers are fixed."""

import math
from typing import Any

import numpy as np
import pytest

from tidemill_evaluator.statistics.intervals import log_gains, log_weights

TIMES, STATED = 1000, 0.025
CONVINCING = -math.log(STATED)


def capitals(differences: Any) -> Any:  # noqa: ANN401 - numpy's arrays
    """Return the logarithm of the capital after each observation, of evaluations (rows), for `gain_above: 0`."""
    gains = np.maximum(log_gains(differences[:, None, :], 0.5), -1e3)
    return np.logaddexp.reduce(gains.cumsum(axis=-1) + log_weights()[:, None], axis=1)


def of_users(chance: np.random.Generator, cases: int) -> tuple[Any, Any]:
    """Return the differences of cases that five in a row share a user in, and the users' means.

    A user likes all answers of a candidate or none: half of what a case says is its user's.
    """
    users = chance.choice([-0.4, 0.4], (TIMES, cases // 5))
    differences = np.repeat(users, 5, axis=1) + chance.uniform(-0.4, 0.4, (TIMES, cases))
    return differences, differences.reshape(TIMES, -1, 5).mean(axis=2)


@pytest.mark.parametrize("cases", [20, 40, 60])
def test_by_clusters_no_more_pass_than_stated_where_by_cases_they_would(cases: int) -> None:
    differences, means = of_users(np.random.default_rng(cases), cases)

    by_case, by_cluster = ((capitals(each)[:, -1] >= CONVINCING).mean() for each in (differences, means))

    assert by_cluster <= STATED
    assert by_case > STATED, "or these users do not depend on anything"


@pytest.mark.parametrize("cases", [20, 40, 60])
def test_a_bound_that_is_computed_after_each_cluster_is_wrong_no_more_often(cases: int) -> None:
    _, means = of_users(np.random.default_rng(cases), cases)

    assert (capitals(means).max(axis=1) >= CONVINCING).mean() <= STATED
