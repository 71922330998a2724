"""What the values of declared metrics say of a candidate: by user, by weight, and once they stand."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest

from services.inference.tests.rollouts.rolling import POLICY, rolling, rollout_of
from tidemill_core.errors import InvalidInput
from tidemill_inference.deployments.domain.spec import DeploymentSpec
from tidemill_inference.rollouts.domain.policy import AbortRules, MetricRule, RolloutStep
from tidemill_inference.rollouts.domain.rollout import Move
from tidemill_inference.rollouts.domain.step_counts import CANDIDATE, LIVE, Outcome, Reason, StepCounts
from tidemill_inference.rollouts.domain.values import GivenValue
from tidemill_testkit.clocks import NOON

SOLVED = MetricRule(metric="solved", loss_above=0.05)
STEP = RolloutStep(weight=50, requests=40, at_least=10)


def valued(variant: str, number: int, *values: GivenValue) -> Outcome:
    return Outcome(
        inference=f"{variant}{number}", rollout="r", step=1, variant=variant, failed=False, total_s=1.0, values=values
    )


def solved(score: float, **said: object) -> GivenValue:
    return GivenValue(metric="solved", score=score, **said)  # type: ignore[arg-type] # the test says what it is


def side(variant: str, count: int, score: float, **said: object) -> list[Outcome]:
    return [valued(variant, number, solved(score, **said)) for number in range(count)]


def counts_of(*found: list[Outcome], rule: MetricRule = SOLVED) -> StepCounts:
    return StepCounts.of([each for some in found for each in some], shadow=False, metrics=[rule], now=NOON)


def abort(counts: StepCounts, rule: MetricRule = SOLVED) -> tuple[Reason, str] | None:
    return counts.abort(STEP, AbortRules(metrics=(rule,)))


def test_a_candidate_whose_values_are_worse_is_taken_back_with_the_metric_named() -> None:
    found = abort(counts_of(side(LIVE, 20, 1.0), side(CANDIDATE, 20, 0.0)))

    assert found
    assert found[0] is Reason.METRIC
    assert found[1].startswith("solved has a mean score of 0 in 20 values against 1 in 20 of the baseline")


@pytest.mark.parametrize(
    "outcomes",
    [
        [side(LIVE, 20, 0.9), side(CANDIDATE, 20, 0.88)],
        [side(LIVE, 4, 1.0), side(CANDIDATE, 80, 0.0)],
        [side(LIVE, 80, 0.0), side(CANDIDATE, 80, 1.0)],
        [side(LIVE, 20, 1.0, mature_time=NOON + timedelta(hours=1)), side(CANDIDATE, 20, 0.0)],
        [side(LIVE, 20, 1.0), side(CANDIDATE, 20, 0.0, weight=0.0)],
    ],
)
def test_what_is_no_less_too_little_not_mature_or_of_no_weight_takes_nothing_back(
    outcomes: list[list[Outcome]],
) -> None:
    assert abort(counts_of(*outcomes)) is None


@pytest.mark.heavy
@pytest.mark.parametrize(("good", "bad"), [(0.75, 0.25), (0.74, 0.24), (2 / 3, 1 / 3)])
def test_a_loss_of_three_hundredths_in_stars_is_found_as_it_is_in_any_scores(good: float, bad: float) -> None:
    strict = replace(SOLVED, loss_above=0.0)
    candidate = [solved(good if number % 100 < 94 else bad) for number in range(1000)]
    worse = [valued(CANDIDATE, number, value) for number, value in enumerate(candidate)]

    assert abort(counts_of(side(LIVE, 1000, good), worse, rule=strict), strict) is not None


def test_many_different_scores_are_counted_in_steps_that_cost_a_candidate_nothing() -> None:
    many = [valued(CANDIDATE, number, solved(number / 1000)) for number in range(1001)]
    live = [valued(LIVE, number, solved(number / 1000)) for number in range(1001)]
    counted = counts_of(many, live).metrics[0]

    ours, theirs = counted.candidate.samples[1.0], counted.baseline.samples[1.0]
    assert len(ours) == len(theirs) == 241
    assert all(min(abs(score - number / 240) for number in range(241)) < 1e-9 for score in ours)
    assert sum(score * count for score, count in theirs.items()) < 1001 * 0.5 < sum(s * n for s, n in ours.items())


@pytest.mark.parametrize("weight", [0.1, 0.3, 0.7, 1.1])
def test_values_of_one_weight_are_as_many_as_they_are(weight: float) -> None:
    for number in (5, 10, 20, 25, 30, 397):
        found = counts_of(side(LIVE, number, 1.0, weight=weight), side(CANDIDATE, number, 0.0, weight=weight))

        assert found.metrics[0].candidate.number == number
        assert found.metrics[0].reached(number, without_baseline=False)


def test_values_are_read_once_however_many_metrics_are_counted() -> None:
    class Values(tuple[GivenValue, ...]):  # noqa: SLOT001 - counts
        reads = 0

        def __iter__(self) -> Iterator[GivenValue]:
            type(self).reads += 1
            return super().__iter__()

    rules = [replace(SOLVED, metric=f"m{number}") for number in range(5)]
    outcomes = [replace(valued(CANDIDATE, number), values=Values([solved(1.0)])) for number in range(3)]

    StepCounts.of(outcomes, shadow=False, metrics=rules, now=NOON)

    assert Values.reads == len(outcomes)


def test_one_user_has_one_vote_however_often_it_is_given() -> None:
    once = counts_of(side(LIVE, 40, 1.0), side(CANDIDATE, 40, 0.0, user="u1"))

    assert abort(once) is None
    assert once.metrics[0].candidate.number == pytest.approx(1.0)
    assert abort(counts_of(side(LIVE, 40, 1.0), side(CANDIDATE, 40, 0.0))) is not None


def test_the_ratings_of_one_user_take_nothing_back_either() -> None:
    def rated(variant: str, number: int, score: float, user: str) -> Outcome:
        return valued(variant, number, GivenValue(metric="rating", score=score, user=user))

    live = [rated(LIVE, number, 1.0, f"u{number}") for number in range(30)]
    rules = AbortRules(rating_loss_above=0.02)
    of_one = StepCounts.of([*live, *(rated(CANDIDATE, number, 0.0, "v") for number in range(30))], shadow=False)
    of_all = StepCounts.of([*live, *(rated(CANDIDATE, n, 0.0, f"v{n}") for n in range(30))], shadow=False)

    assert of_one.abort(STEP, rules) is None
    assert of_all.abort(STEP, rules) is not None


def test_what_users_and_reviewers_say_of_one_answer_is_weighted_and_the_number_is_the_effective_one() -> None:
    both = valued(CANDIDATE, 1, solved(0.0, user="u1"), solved(1.0, weight=3.0))
    found = counts_of([both]).metrics[0].candidate

    assert found.mean == pytest.approx(0.75)
    assert found.number == pytest.approx(16 / 10)


def test_values_of_little_weight_beside_heavy_ones_are_little_evidence() -> None:
    light = [*side(CANDIDATE, 40, 0.0, weight=0.01), valued(CANDIDATE, 99, solved(1.0))]
    heavy = [*side(CANDIDATE, 40, 0.0), valued(CANDIDATE, 99, solved(1.0))]

    assert abort(counts_of(side(LIVE, 40, 1.0), light)) is None
    assert abort(counts_of(side(LIVE, 40, 1.0), heavy)) is not None


def test_values_count_from_the_moment_on_at_which_they_mature_and_are_counted_apart_before() -> None:
    late = side(CANDIDATE, 7, 0.0, mature_time=NOON + timedelta(seconds=1))
    before = counts_of(late).metrics[0].candidate
    after = StepCounts.of(late, shadow=False, metrics=[SOLVED], now=NOON + timedelta(seconds=1)).metrics[0].candidate

    assert (before.number, before.mean, before.immature) == (0, None, 7)
    assert (after.number, after.mean, after.immature) == (7, 0.0, 0)


WAITS = MetricRule(metric="solved", at_least=12)
FULL = replace(STEP, weight=100)


@pytest.mark.parametrize(
    ("step", "outcomes", "reached"),
    [
        (STEP, [side(LIVE, 30, 1.0), side(CANDIDATE, 30, 1.0)], True),
        (STEP, [side(LIVE, 30, 1.0), side(CANDIDATE, 30, 1.0, user="u1")], False),
        (STEP, [side(LIVE, 11, 1.0), side(CANDIDATE, 60, 1.0)], False),
        (FULL, [side(CANDIDATE, 60, 1.0)], True),
        (RolloutStep(shadow=True, requests=1), [side(LIVE, 3, 1.0), side(CANDIDATE, 3, 1.0)], True),
    ],
)
def test_a_step_with_a_weight_waits_for_values_of_each_side_that_answers(
    step: RolloutStep, outcomes: list[list[Outcome]], *, reached: bool
) -> None:
    counts = counts_of(*outcomes, rule=WAITS)

    assert counts.reached(step, AbortRules(metrics=(WAITS,))) is reached
    assert counts.reached(step, AbortRules())


def test_a_step_that_saw_too_few_values_in_time_says_which() -> None:
    policy = replace(POLICY, abort=AbortRules(metrics=(WAITS,)))
    counts = counts_of(side(LIVE, 40, 1.0, user="u1"), side(CANDIDATE, 40, 1.0), rule=WAITS)

    rollout = rollout_of(rolling(policy, step=2))
    decision = rollout.decide(counts, now=NOON + timedelta(hours=3), paused=False)

    assert decision.move is Move.HOLD
    assert decision.message.startswith("step 2 did not see enough values of solved within 2 h")


def test_a_step_that_saw_too_few_requests_as_well_says_both() -> None:
    policy = replace(POLICY, abort=AbortRules(metrics=(WAITS,)))

    rollout = rollout_of(rolling(policy, step=2))
    decision = rollout.decide(counts_of(side(LIVE, 3, 1.0), rule=WAITS), now=NOON + timedelta(hours=3), paused=False)

    assert decision.message.startswith("step 2 did not see enough answers, nor enough values of solved within 2 h")


def test_a_candidate_that_is_as_good_is_not_taken_back_by_users_who_react_often() -> None:
    """Ten users a side, each with a taste of its own, whose mean moves with every value."""
    strict = replace(SOLVED, loss_above=0.0)

    def ended(seed: int) -> bool:
        chance, seen = Random(seed), list[Outcome]()  # noqa: S311 - no secret
        tastes = [chance.betavariate(2, 1) for _ in range(20)]
        for number in range(72):
            user = chance.randrange(len(tastes))
            weight = 3.0 if chance.random() < 0.2 else 1.0
            value = solved(float(chance.random() < tastes[user]), user=f"u{user}", weight=weight)
            seen.append(valued(CANDIDATE if user % 2 else LIVE, number, value))
            if number % 8 == 7 and abort(counts_of(seen, rule=strict), strict):
                return True
        return False

    assert not any(ended(seed) for seed in range(5))


@pytest.mark.parametrize(
    ("step", "at_least", "kept"),
    [
        (RolloutStep(weight=5, requests=100), 100, 40_000),
        (RolloutStep(weight=90, requests=100), 100, 20_000),
        (RolloutStep(weight=100, requests=100), 100, 2_000),
        (RolloutStep(weight=50, requests=100), 10, 1_000),
        (RolloutStep(weight=1, requests=100_000), 10, 1_000_000),
        (RolloutStep(shadow=True, requests=100), 100, 1_000),
    ],
)
def test_so_many_answers_are_kept_that_one_in_twenty_has_to_have_a_value(
    step: RolloutStep, at_least: int, kept: int
) -> None:
    rules = AbortRules(metrics=(replace(WAITS, at_least=at_least),))

    assert replace(POLICY, steps=(step,), abort=rules).kept(step) == kept


@pytest.mark.parametrize(
    ("rules", "field", "text"),
    [
        ([MetricRule(metric="solved")], "[0]", "does nothing: set loss_above, at_least, or both"),
        ([replace(SOLVED, loss_above=1.5)], "[0].loss_above", "is 1.5; use 0 to 1"),
        ([replace(SOLVED, at_least=-1)], "[0].at_least", "is -1; use 0 (not to wait) to 100000"),
        ([replace(SOLVED, at_least=5001)], "[0].at_least", "is 5001; the steps keep the answers for 5000 values"),
        ([replace(SOLVED, metric="rating")], "[0].metric", "use rating_loss_above"),
        ([replace(SOLVED, metric="Is It")], "[0].metric", "is 'Is It'"),
        ([SOLVED, SOLVED], "[1].metric", "is solved, which has a rule already"),
        ([replace(SOLVED, metric=f"m{number}") for number in range(6)], "", "has 6; use at most 5"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_by_field_value_and_limit(
    rules: list[MetricRule], field: str, text: str
) -> None:
    policy = replace(POLICY, abort=AbortRules(metrics=tuple(rules)))

    with pytest.raises(InvalidInput) as refused:
        DeploymentSpec(model="m", prompt="p", rollout_policy=policy).check()

    (violation,) = refused.value.violations
    assert violation.field == f"rollout_policy.abort.metrics{field}"
    assert text in violation.description
