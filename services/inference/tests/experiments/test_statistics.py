"""What the answers of arms show, and the weights that follow it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.inference.tests.experiments.simulated import run
from tidemill_inference.experiments.domain.comparison import counted
from tidemill_inference.experiments.domain.plan import Measure, Measured
from tidemill_inference.experiments.domain.scores import NANOS
from tidemill_inference.experiments.domain.weights import adapted, default_min_weight
from tidemill_inference.rollouts.domain.policy import StickyBy
from tidemill_inference.rollouts.domain.step_counts import Outcome
from tidemill_inference.rollouts.domain.values import GivenValue, SideValues
from tidemill_testkit.clocks import NOON

SCORES = 400
FAILURES = Measured(measure=Measure.FAILURES)


def answer(inference: str, *, user: str = "", arm: str = "a", step: int = 0, failed: bool = False) -> Outcome:
    return Outcome(
        inference=inference,
        rollout="r@1",
        step=step,
        variant=arm,
        failed=failed,
        total_s=1.0,
        user=user,
        cost_nanos=NANOS,
    )


def test_all_answers_to_a_user_are_one_observation_of_failures_times_and_costs() -> None:
    often = [answer(f"o{number}", user="often", failed=number < 5) for number in range(10)]
    once = [answer("one", user="once"), answer("nobody's"), answer("nor this")]
    latency, cost = Measured(measure=Measure.LATENCY, worst=4.0), Measured(measure=Measure.COST, worst=2.0)

    counts = counted([*often, *once], ["a", "b"], goal=FAILURES, guardrails=[latency, cost], now=NOON)

    arm = counts.arms["a"]
    assert (arm.answers, arm.failures, arm.users) == (13, 5, 4)
    assert (arm.goal.mean, arm.goal.number) == ((0.5 + 3) / 4, 4)
    assert [(each.mean, each.number) for each in arm.guardrails] == [((0.375 + 3 * 0.75) / 4, 4), (0.5, 4)]
    assert counts.arms["b"].goal.mean is None


def test_an_arm_that_fails_where_it_is_slow_is_not_the_faster_one_for_it() -> None:
    quick = [answer(f"{arm}{number}", arm=arm) for arm in ("a", "b") for number in range(2)]
    slow = [replace(answer("a slow"), total_s=3.0), answer("b slow", arm="b", failed=True)]

    latency = Measured(measure=Measure.LATENCY, worst=4.0)
    arms = counted([*quick, *slow], ["a", "b"], goal=latency, guardrails=[], now=NOON).arms

    assert [arm.goal.mean for arm in arms.values()] == [pytest.approx(1.75 / 3), 0.5]


def test_what_is_said_of_an_answer_of_the_fallback_does_not_count_for_the_arm() -> None:
    said = GivenValue(metric="solved", score=1.0)
    outcomes = [replace(answer(name, failed=name == "fell back"), values=(said,)) for name in ("own", "fell back")]

    counts = counted(outcomes, ["a"], goal=Measured(metric="solved"), guardrails=[], now=NOON)

    assert counts.arms["a"].goal.number == 1


def test_bounds_of_a_difference_of_many_scores_are_rounded_away_from_it_on_both_sides() -> None:
    times = [0.796 + 0.004 * (number + 0.5) / SCORES for number in range(SCORES)]
    given = [
        replace(answer(f"{arm}{number}", arm=arm), total_s=time)
        for arm in ("a", "b")
        for number, time in enumerate(times)
    ]
    latency = Measured(measure=Measure.LATENCY, worst=1.0)

    counts = counted(given, ["a", "b"], goal=latency, guardrails=[], now=NOON).with_differences(error=0.05)

    bounds = counts.arms["b"].goal.difference
    assert bounds is not None
    assert bounds.low == -bounds.high


def test_of_a_user_who_was_moved_only_the_answers_of_the_first_arm_count() -> None:
    moved = [answer("2", user="u", arm="b", step=1, failed=True), answer("1", user="u", arm="a")]

    counts = counted(
        [*moved, answer("3", user="v", arm="b", step=1)], ["a", "b"], goal=FAILURES, guardrails=[], now=NOON
    )

    assert [(arm.answers, arm.failures) for arm in counts.arms.values()] == [(1, 0), (1, 0)]


def test_where_requests_are_divided_a_user_counts_once_in_each_arm() -> None:
    asked = [answer(f"{arm}{number}", user="u", arm=arm, failed=arm == "b") for arm in ("a", "b") for number in (1, 2)]

    counts = counted(asked, ["b", "a"], goal=FAILURES, guardrails=[], now=NOON, sticky_by=StickyBy.REQUEST)

    assert [(arm.answers, arm.users, arm.goal.mean) for arm in counts.arms.values()] == [(2, 1, 0.0), (2, 1, 1.0)]


def test_values_of_feedback_count_for_who_asked_and_once_they_have_matured() -> None:
    def valued(inference: str, score: float, *, user: str = "", hours: int = 0) -> Outcome:
        matures = NOON + timedelta(hours=hours) if hours else None
        value = GivenValue(metric="solved", score=score, mature_time=matures)
        return replace(answer(inference, user=user), values=(value,))

    said = [valued("1", 1.0, user="u"), valued("2", 0.0, user="u"), valued("3", 1.0), valued("4", 0.0, hours=2)]

    counts = counted(said, ["a"], goal=Measured(metric="solved"), guardrails=[], now=NOON)

    goal = counts.arms["a"].goal
    assert (goal.mean, goal.number, goal.immature) == (0.75, 2, 1)
    assert counts.matures == NOON + timedelta(hours=2)


def test_weights_add_up_follow_what_is_likely_the_best_and_leave_every_arm_its_minimum() -> None:
    seen = {"a": SideValues(mean=0.4, number=100), "b": SideValues(mean=0.7, number=100), "c": SideValues(number=0)}

    weights = adapted(seen, share=90, min_weight=10, seed="s")

    assert sum(weights.values()) == 90
    assert weights["a"] == 10
    assert weights["b"] > weights["c"] > 10
    assert weights == adapted(seen, share=90, min_weight=10, seed="s")
    assert [default_min_weight(arms) for arms in (2, 5, 8)] == [20, 8, 5]


@pytest.mark.heavy
def test_equal_arms_are_seldom_called_the_best_and_adaptive_weights_spare_users_the_worse_arm() -> None:
    equal = [run((0.5, 0.5), users=200, seed=seed, adaptive=True).best for seed in range(10)]
    assert equal.count("") >= 9

    spared = [run((0.4, 0.7), users=300, seed=seed, adaptive=True) for seed in range(4)]
    assert {each.best for each in spared} <= {"", "1"}
    assert sum(each.users[0] for each in spared) < 0.7 * 4 * 150
