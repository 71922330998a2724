"""Failures and times in a rollout: each user is one observation, however many answers the user has."""

from dataclasses import replace
from random import Random

import pytest

from services.inference.tests.fakes import ADA
from services.inference.tests.rollouts.rollout_fakes import RolloutHarness
from tidemill_inference.rollouts.domain.evidence import Bounds
from tidemill_inference.rollouts.domain.policy import AbortRules, RolloutStep
from tidemill_inference.rollouts.domain.step_counts import CANDIDATE, LIVE, Outcome, Reason, StepCounts
from tidemill_inference.rollouts.domain.times import Times, median_ratio, slower
from tidemill_testkit.clocks import NOON

STEP = RolloutStep(weight=50, requests=40, at_least=10)
FAILS = AbortRules(error_rate_above=0.05)
SLOW = AbortRules(latency_p95_ratio_above=1.5)


def side(variant: str, users: int, answers: int, *, failed: int = 0, seconds: float = 1.0) -> list[Outcome]:
    """Return so many answers of each user, of whom the first has so many that failed."""
    return [
        Outcome(
            inference=f"{variant}{user}-{number}",
            rollout="r",
            step=1,
            variant=variant,
            failed=user == 0 and number < failed,
            total_s=seconds,
            user=f"{variant}{user}",
        )
        for user in range(users)
        for number in range(answers)
    ]


def counts_of(*sides: list[Outcome]) -> StepCounts:
    return StepCounts.of([each for some in sides for each in some], shadow=False)


def test_one_user_whose_requests_all_fail_takes_no_candidate_back_and_many_users_do() -> None:
    live = side(LIVE, 20, 4)
    of_one = [*side(CANDIDATE, 1, 60, failed=60), *side(CANDIDATE, 20, 1)[1:]]
    of_all = [replace(each, user=each.inference) for each in of_one]

    assert counts_of(live, of_one).abort(STEP, FAILS) is None
    found = counts_of(live, of_all).abort(STEP, FAILS)
    assert found
    assert found == (Reason.ERROR_RATE, "60 of its 79 answers failed, above the limit of 0.05")


def test_a_candidate_that_fails_each_of_few_users_is_taken_back_and_the_mean_of_users_is_said() -> None:
    candidate = [replace(each, failed=each.inference.endswith("-0")) for each in side(CANDIDATE, 12, 2)]

    found = counts_of(side(LIVE, 12, 2), candidate).abort(STEP, FAILS)

    assert found == (
        Reason.ERROR_RATE,
        "12 of its 24 answers failed, a share of 0.5 in the mean of 12 users, above the limit of 0.05",
    )


def test_answers_without_a_user_count_one_by_one() -> None:
    outcomes = [*side(LIVE, 1, 40), *side(CANDIDATE, 1, 40, failed=20)]

    assert counts_of([replace(each, user="") for each in outcomes]).abort(STEP, FAILS) is not None
    assert counts_of(outcomes).abort(STEP, FAILS) is None


def test_the_long_answers_of_one_user_take_no_candidate_back_and_those_of_all_do() -> None:
    live = side(LIVE, 15, 2)
    of_one = [*side(CANDIDATE, 1, 40, seconds=9.0), *side(CANDIDATE, 15, 1)[1:]]

    assert counts_of(live, of_one).abort(STEP, SLOW) is None
    found = counts_of(live, side(CANDIDATE, 15, 2, seconds=9.0)).abort(STEP, SLOW)
    assert found
    assert found[0] is Reason.LATENCY
    assert "in 30 answers against" in found[1]


def test_bounds_are_of_users_too_and_say_less_of_few_of_them() -> None:
    few = counts_of(side(LIVE, 4, 20), side(CANDIDATE, 4, 20, seconds=3.0)).with_differences()
    many = counts_of(side(LIVE, 80, 1), side(CANDIDATE, 80, 1, seconds=3.0)).with_differences()

    assert few.latency_ratio
    assert many.latency_ratio
    assert few.latency_ratio.low < 1.0 < many.latency_ratio.low
    assert few.failure_difference
    assert many.failure_difference
    assert few.failure_difference.high > many.failure_difference.high
    none = counts_of(side(LIVE, 1, 1), side(CANDIDATE, 1, 1)).with_differences().failure_difference
    assert none
    assert none == Bounds(low=-none.high, high=none.high)


def test_shares_of_times_of_users_with_one_answer_are_those_of_answers() -> None:
    """The two ways in which times are counted agree where each user has the same time twice, or once."""
    chance = Random(7)  # noqa: S311 - no secret
    ours, theirs = ([chance.lognormvariate(0.0, 0.4) for _ in range(30)] for _ in range(2))
    slow = [2 * time for time in ours]
    once = Times.of([time] for time in slow), Times.of([time] for time in theirs)
    twice = Times.of([time, time] for time in slow), Times.of([time, time] for time in theirs)

    assert slower(*once, by=1.0) == pytest.approx(slower(*twice, by=1.0))
    assert median_ratio(*once, error=0.05) == median_ratio(*twice, error=0.05)
    assert slower(*once, by=1.0) > 3.0


def test_the_shares_of_a_user_count_by_all_of_the_users_times() -> None:
    """Half of each user's answers are much slower: by users that is the upper half, not the median."""
    candidate = Times.of([1.0, 8.0] for _ in range(40))
    live = Times.of([1.0, 1.0] for _ in range(40))

    assert slower(candidate, live, by=2.0) > 3.0
    assert slower(live, candidate, by=1.0) < 0.0


async def test_an_answer_and_its_copy_are_of_who_asked_and_go_with_that_person() -> None:
    harness = RolloutHarness()
    await harness.is_rolling()
    await harness.asks(2)
    rollout = (await harness.rollout()).id

    found = await harness.outcomes.of_step(ADA.project, rollout, 0)
    assert sorted((each.variant, each.user) for each in found) == [
        (variant, user) for variant in (CANDIDATE, LIVE) for user in ("u1", "u2")
    ]
    assert await harness.outcomes.of_end_user(ADA.project, "u1") == 2
    assert {each.user for each in await harness.outcomes.of_step(ADA.project, rollout, 0)} == {"u2"}


async def test_what_is_late_of_an_erased_user_is_not_kept_in_a_rollout() -> None:
    harness = RolloutHarness()
    await harness.is_rolling(step=1)
    rollout = (await harness.rollout()).id
    record = replace(harness.note, erased=harness.erased_end_users)
    late = [replace(each, rollout=rollout) for each in side(LIVE, 2, 1)]
    harness.erased[late[0].user] = NOON
    for each in late:
        await record(ADA.project, "helpdesk", each, asked_at=NOON)

    assert [each.user for each in await harness.outcomes.of_step(ADA.project, rollout, 1)] == [late[1].user]


def taken_back(seed: int, *, named: bool) -> bool:
    """Return whether an equal candidate is taken back in a step of few users, some of whom always fail."""
    chance, seen = Random(seed), list[Outcome]()  # noqa: S311 - no secret
    fails = [chance.random() < 0.1 for _ in range(10)]
    for number in range(400):
        user = chance.randrange(len(fails))
        variant = CANDIDATE if user % 2 else LIVE
        seen.append(
            Outcome(
                inference=str(number),
                rollout="r",
                step=1,
                variant=variant,
                failed=fails[user],
                total_s=1.0,
                user=f"u{user}" if named else "",
            )
        )
        if number % 80 == 79 and counts_of(seen).abort(STEP, AbortRules(error_rate_above=0.1)):
            return True
    return False


def test_equal_candidates_are_seldom_taken_back_by_users_who_fail_often_where_by_answers_they_would() -> None:
    """In 5 % of steps at most, by users."""
    steps = range(60)

    assert sum(taken_back(seed, named=False) for seed in steps) >= 6
    assert sum(taken_back(seed, named=True) for seed in steps) <= 1
