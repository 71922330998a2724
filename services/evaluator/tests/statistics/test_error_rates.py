"""How often candidates that are no better pass, in simulated evaluations; the random numbers are fixed."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tidemill_evaluator.evaluations.domain.clusters import averages, clusters_of, numbered
from tidemill_evaluator.evaluations.domain.results import CaseAnswer, CaseResult
from tidemill_evaluator.statistics.intervals import log_gains, log_weights
from tidemill_evaluator.suites.domain.cases import Case

TIMES, STATED = 500, 0.025
CONVINCING = -math.log(STATED)


def capitals(differences: Any) -> Any:  # noqa: ANN401 - numpy's arrays
    """Return the logarithm of the capital after each observation, of evaluations (rows), for `gain_above: 0`."""
    gains = np.maximum(log_gains(differences[:, None, :], 0.5), -1e3)
    return np.logaddexp.reduce(gains.cumsum(axis=-1) + log_weights()[:, None], axis=1)


def cases_of(users: int) -> Sequence[Case]:
    """Return five cases of each user."""
    return [
        Case(id=str(number), question=f"question {number}", reference="x", end_user=f"user {number // 5}")
        for number in range(5 * users)
    ]


def of_users(chance: np.random.Generator, users: int, *, gain: float = 0.0) -> tuple[Any, Any]:
    """Return the differences of five cases of each user, and the means of the clusters that they are in.

    A user likes all answers of a candidate or none: half of what a case says is its user's.
    """
    common = chance.choice([-0.4, 0.4], (TIMES, users))
    differences = np.repeat(common, 5, axis=1) + chance.uniform(-0.4, 0.4, (TIMES, 5 * users)) + gain
    numbers = np.array([each.cluster for each in numbered(cases_of(users), ["end_user"]).values()])
    member = numbers[:, None] == np.arange(numbers.max() + 1)
    return differences, differences @ (member / member.sum(axis=0))


def test_the_means_that_are_simulated_are_those_of_an_evaluation() -> None:
    differences, means = of_users(np.random.default_rng(1), 20)
    results = [
        CaseResult(
            case_set="s",
            case=str(number),
            baseline=CaseAnswer(scores={"rouge_l": 0.0}),
            candidate=CaseAnswer(scores={"rouge_l": difference}),
        )
        for number, difference in enumerate(differences[0])
    ]
    traits = {("s", case): each for case, each in numbered(cases_of(20), ["end_user"]).items()}

    clusters = clusters_of(results, traits, "rouge_l")

    assert len(clusters) == 20
    assert averages(clusters, lambda each: each.difference("rouge_l")) == pytest.approx(means[0])


@pytest.mark.parametrize("users", [20, 40, 60])
def test_by_clusters_no_more_pass_than_stated_where_by_cases_they_would(users: int) -> None:
    differences, means = of_users(np.random.default_rng(users), users)

    by_case, by_cluster = ((capitals(each)[:, -1] >= CONVINCING).mean() for each in (differences, means))

    assert by_cluster <= STATED
    assert by_case > STATED, "or these users do not depend on anything"


@pytest.mark.parametrize("users", [20, 40, 60])
def test_a_bound_that_is_computed_after_each_cluster_is_wrong_no_more_often(users: int) -> None:
    _, means = of_users(np.random.default_rng(users), users)

    assert (capitals(means).max(axis=1) >= CONVINCING).mean() <= STATED


@pytest.mark.parametrize(("users", "found"), [(20, 0.05), (40, 0.4), (60, 0.7)])
def test_so_many_clusters_show_a_gain_that_there_is(users: int, found: float) -> None:
    _, means = of_users(np.random.default_rng(users), users, gain=0.2)

    assert (capitals(means)[:, -1] >= CONVINCING).mean() > found
