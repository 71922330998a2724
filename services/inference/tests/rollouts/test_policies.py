"""What outcomes, time and policy make of a step, and which policies can work."""

from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random

import pytest

from services.inference.tests.rollouts.rolling import (
    POLICY,
    counted,
    deployment,
    outcomes,
    passed,
    rated,
    rolling,
    rollout_of,
)
from tidemill_core.errors import InvalidInput
from tidemill_inference.deployments.domain.spec import DeploymentSpec
from tidemill_inference.rollouts.domain.policy import AbortRules, OnTimeout, RolloutStep
from tidemill_inference.rollouts.domain.rollout import Hold, Move
from tidemill_inference.rollouts.domain.step_counts import CANDIDATE, LIVE, Outcome, Reason, StepCounts
from tidemill_testkit.clocks import NOON


@pytest.mark.parametrize(
    ("counts", "move"),
    [
        (counted(outcomes(LIVE, 36), outcomes(CANDIDATE, 4)), Move.ADVANCE),
        (counted(outcomes(LIVE, 37), outcomes(CANDIDATE, 3)), Move.STAY),
        (counted(outcomes(LIVE, 35), outcomes(CANDIDATE, 4)), Move.STAY),
    ],
)
def test_a_step_ends_with_its_requests_and_the_candidates_least_share(counts: StepCounts, move: Move) -> None:
    assert rollout_of(rolling(step=1)).decide(counts, now=NOON, paused=False).move is move


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (counted(outcomes(LIVE, 5), outcomes(CANDIDATE, 4, failed=3)), Reason.ERROR_RATE),
        (counted(outcomes(LIVE, 5), outcomes(CANDIDATE, 15, failed=1)), None),
        (counted(outcomes(LIVE, 15, failed=6), outcomes(CANDIDATE, 15, failed=6)), None),
        (counted(outcomes(LIVE, 35, failed=1), outcomes(CANDIDATE, 35, failed=30)), Reason.ERROR_RATE),
        (counted(outcomes(LIVE, 5), outcomes(CANDIDATE, 3, failed=3)), None),
        (counted(outcomes(LIVE, 15), outcomes(CANDIDATE, 15, seconds=1.6)), Reason.LATENCY),
        (counted(outcomes(LIVE, 15), outcomes(CANDIDATE, 15, seconds=1.4)), None),
        (counted(outcomes(LIVE, 5), outcomes(CANDIDATE, 4, seconds=9)), None),
        (counted(outcomes(CANDIDATE, 40, seconds=9)), None),
        (counted(outcomes(LIVE, 4), outcomes(CANDIDATE, 80, seconds=9)), None),
        (counted(outcomes(LIVE, 36, failed=32), outcomes(CANDIDATE, 80, seconds=9)), None),
        (counted(outcomes(LIVE, 20, rating=1.0), outcomes(CANDIDATE, 20, rating=0.1)), Reason.RATING),
        (counted(outcomes(LIVE, 20, rating=0.9), outcomes(CANDIDATE, 20, rating=0.8)), None),
        (counted(outcomes(LIVE, 4, rating=1.0), outcomes(CANDIDATE, 80, rating=0.0)), None),
        (counted(outcomes(LIVE, 80, rating=0.1), outcomes(CANDIDATE, 80, rating=0.9)), None),
    ],
)
def test_what_falls_below_the_baseline_is_taken_back_once_there_are_enough_answers(
    counts: StepCounts, reason: Reason | None
) -> None:
    decision = rollout_of(rolling(step=1)).decide(counts, now=NOON, paused=False)

    assert decision.reason is reason
    assert (decision.move is Move.ROLL_BACK) is (reason is not None)


@pytest.mark.parametrize(
    ("live", "candidate", "move"),
    [(9, 9, Move.STAY), (9, 10, Move.ROLL_BACK), (20, 3, Move.ROLL_BACK), (19, 3, Move.STAY)],
)
def test_without_at_least_a_verdict_needs_ten_answers_or_the_end_of_the_step(
    live: int, candidate: int, move: Move
) -> None:
    policy = replace(POLICY, steps=(RolloutStep(shadow=True, requests=20),))
    counts = counted(outcomes(LIVE, live), outcomes(CANDIDATE, candidate, failed=3), shadow=True)

    assert rollout_of(rolling(policy)).decide(counts, now=NOON, paused=False).move is move


@pytest.mark.parametrize(
    ("on_timeout", "move", "reason", "hold"),
    [
        (OnTimeout.HOLD, Move.HOLD, None, Hold.PERSON),
        (OnTimeout.PROMOTE, Move.PROMOTE, Reason.TIMEOUT, None),
        (OnTimeout.ROLL_BACK, Move.ROLL_BACK, Reason.TIMEOUT, None),
    ],
)
def test_a_step_that_lasts_too_long_ends_as_the_policy_says(
    on_timeout: OnTimeout, move: Move, reason: Reason | None, hold: Hold | None
) -> None:
    rollout = rollout_of(rolling(replace(POLICY, on_timeout=on_timeout), step=2))

    assert rollout.decide(StepCounts(), now=NOON + timedelta(hours=1.9), paused=False).move is Move.STAY
    late = rollout.decide(StepCounts(), now=NOON + timedelta(hours=2), paused=False)

    assert (late.move, late.reason, late.hold) == (move, reason, hold)


@pytest.mark.parametrize(
    ("on_timeout", "move", "reason", "hold"),
    [
        (OnTimeout.HOLD, Move.HOLD, None, Hold.PERSON),
        (OnTimeout.PROMOTE, Move.ROLL_BACK, Reason.MODEL_NOT_READY, None),
        (OnTimeout.ROLL_BACK, Move.ROLL_BACK, Reason.MODEL_NOT_READY, None),
    ],
)
def test_a_candidate_that_is_not_loaded_in_time_is_never_promoted_and_says_why(
    on_timeout: OnTimeout, move: Move, reason: Reason | None, hold: Hold | None
) -> None:
    made = deployment(replace(POLICY, on_timeout=on_timeout))
    made.start_rollout(passed(), why_not="", now=NOON)
    made.delay_rollout(rollout_of(made).id, epoch=1, why="the trainer is down")
    late = NOON + timedelta(hours=24)

    assert rollout_of(made).decide(StepCounts(), now=late - timedelta(minutes=1), paused=False).move is Move.STAY
    assert rollout_of(made).decide(StepCounts(), now=late, paused=True).move is Move.STAY
    decision = rollout_of(made).decide(StepCounts(), now=late, paused=False)

    assert (decision.move, decision.reason, decision.hold) == (move, reason, hold)
    why = "step 0 could not begin within 24 h: it waits for the candidate to be loaded: the trainer is down"
    assert decision.message.startswith(why)


def test_copies_are_no_requests() -> None:
    counts = counted(outcomes(LIVE, 10), outcomes(CANDIDATE, 8, failed=1, seconds=2.0, rating=0.5), shadow=True)

    assert (counts.requests, counts.candidate, counts.candidate_failures) == (10, 8, 1)
    assert (counts.candidate_p95_s, counts.baseline_p95_s, counts.candidate_rating) == (2.0, 1.0, 0.5)


@pytest.mark.parametrize("baseline", [5, 100, 1000])
@pytest.mark.parametrize("candidate", [5, 7, 15, 40])
def test_one_vote_or_one_slow_answer_rolls_nothing_back(baseline: int, candidate: int) -> None:
    live = outcomes(LIVE, baseline, rating=1.0)
    voted = [*outcomes(CANDIDATE, candidate - 1, rating=1.0), *outcomes(CANDIDATE, 1, seconds=60.0, rating=0.0)]
    strict = AbortRules(latency_p95_ratio_above=1.0, rating_loss_above=0.0)

    assert counted(live, voted).abort(RolloutStep(weight=50, requests=10), strict) is None


def test_a_limit_of_no_failures_takes_the_first_one_for_what_it_is() -> None:
    counts = counted(outcomes(LIVE, 5), outcomes(CANDIDATE, 40, failed=1))

    assert counts.abort(RolloutStep(weight=50, requests=10), AbortRules(error_rate_above=0.0)) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """How a side answers: its chances of a thumb up and of a failure, and its median time."""

    thumbs_up: float = 0.8
    fails: float = 0.0
    median_s: float = 1.0

    def outcome(self, variant: str, number: int, chance: Random) -> Outcome:
        failed = chance.random() < self.fails
        return Outcome(
            inference=str(number),
            rollout="r",
            step=0,
            variant=variant,
            failed=failed,
            total_s=self.median_s * chance.lognormvariate(0, 0.6),
            values=rated(None if failed else float(chance.random() < self.thumbs_up)),
        )


def ended_after(live: Answers, candidate: Answers, rules: AbortRules, *, step: RolloutStep, seed: int) -> int | None:
    """Return after how many requests a step ended because of its rules, checked after each; None where it did not."""
    chance, seen = Random(seed), list[Outcome]()  # noqa: S311 - no secret
    while not (counts := StepCounts.of(seen, shadow=False)).reached(step, rules):
        if counts.abort(step, rules):
            return len(seen)
        is_candidate = chance.random() < step.weight / 100
        side, variant = (candidate, CANDIDATE) if is_candidate else (live, LIVE)
        seen.append(side.outcome(variant, len(seen), chance))
    return len(seen) if counts.abort(step, rules) else None


HELPDESK = RolloutStep(weight=50, requests=40, at_least=15)
LONGER = RolloutStep(weight=50, requests=150, at_least=15)
ALL_RULES = AbortRules(error_rate_above=0.02, latency_p95_ratio_above=1.5, rating_loss_above=0.02)


@pytest.mark.parametrize("thumbs_up", [0.5, 0.8, 0.95])
def test_a_candidate_that_is_as_good_is_hardly_ever_taken_back_however_often_it_is_checked(thumbs_up: float) -> None:
    same = Answers(thumbs_up=thumbs_up, fails=0.1)  # both alike, as on a machine that is too slow for them

    ends = [ended_after(same, same, ALL_RULES, step=HELPDESK, seed=seed) for seed in range(40)]

    assert sum(end is not None for end in ends) <= 2  # of 40: 5 % are 2


@pytest.mark.parametrize(
    ("candidate", "rules"),
    [
        (Answers(thumbs_up=0.2), AbortRules(rating_loss_above=0.02)),
        (Answers(fails=0.3), AbortRules(error_rate_above=0.02)),
        (Answers(median_s=6.0), AbortRules(latency_p95_ratio_above=1.5)),
    ],
)
def test_a_candidate_that_is_clearly_worse_is_taken_back_well_before_a_long_step_ends(
    candidate: Answers, rules: AbortRules
) -> None:
    ends = [ended_after(Answers(), candidate, rules, step=LONGER, seed=seed) for seed in range(5)]

    assert all(end is not None and end < 120 for end in ends)


STEP = RolloutStep(weight=10, requests=10)


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        ({"gate": ""}, "rollout_policy.gate", "is required"),
        ({"steps": ()}, "rollout_policy.steps", "has 0; use 1 to 20"),
        ({"steps": (STEP, RolloutStep(shadow=True, requests=1))}, "rollout_policy.steps[1].shadow", "come before"),
        ({"steps": (STEP, STEP)}, "rollout_policy.steps[1].weight", "is 10; weights rise"),
        ({"steps": (replace(STEP, weight=101),)}, "rollout_policy.steps[0].weight", "is 101; use 1 to 100"),
        ({"steps": (replace(STEP, shadow=True),)}, "rollout_policy.steps[0].weight", "leave it out"),
        ({"steps": (replace(STEP, requests=0),)}, "rollout_policy.steps[0].requests", "is 0; use 1 to 100000"),
        (
            {"steps": (replace(STEP, at_least=11),)},
            "rollout_policy.steps[0].at_least",
            "is 11; use 0 (for 1) to requests",
        ),
        ({"steps": (replace(STEP, at_most=timedelta()),)}, "rollout_policy.steps[0].at_most", "is 0 s"),
        ({"abort": AbortRules(error_rate_above=2)}, "rollout_policy.abort.error_rate_above", "is 2; use 0 to 1"),
        ({"approvals": 11}, "rollout_policy.approval.count", "is 11; use 0 (no approval) to 10"),
    ],
)
def test_a_policy_that_cannot_work_is_refused_by_field_value_and_limit(
    changes: dict[str, object], field: str, text: str
) -> None:
    spec = DeploymentSpec(model="m", prompt="p", rollout_policy=replace(POLICY, **changes))  # type: ignore[arg-type]

    with pytest.raises(InvalidInput) as refused:
        spec.check()

    (violation,) = refused.value.violations
    assert violation.field == field
    assert text in violation.description
