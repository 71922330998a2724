"""Failures and times in a rollout: each answer is one observation, also where few users ask."""

from tidemill_inference.rollouts.domain.policy import AbortRules, RolloutStep
from tidemill_inference.rollouts.domain.step_counts import CANDIDATE, LIVE, Outcome, Reason, StepCounts

STEP = RolloutStep(weight=50, requests=40, at_least=10)


def side(variant: str, *, failing: bool = False, seconds: float = 1.0) -> list[Outcome]:
    """Return 60 answers of one user, of which every second failed if they fail."""
    return [
        Outcome(
            inference=f"{variant}-{number}",
            rollout="r",
            step=1,
            variant=variant,
            failed=failing and number % 2 == 0,
            total_s=seconds,
            user="u",
        )
        for number in range(60)
    ]


def test_a_candidate_that_fails_half_of_one_users_answers_is_taken_back() -> None:
    counts = StepCounts.of([*side(LIVE), *side(CANDIDATE, failing=True)], shadow=False)

    assert counts.abort(STEP, AbortRules(error_rate_above=0.05)) == (
        Reason.ERROR_RATE,
        "30 of its 60 answers failed, above the limit of 0.05",
    )
    assert counts.with_differences().failure_difference is not None


def test_a_candidate_that_is_slow_for_one_user_is_taken_back() -> None:
    found = StepCounts.of([*side(LIVE), *side(CANDIDATE, seconds=5.0)], shadow=False).abort(
        STEP, AbortRules(latency_p95_ratio_above=1.5)
    )

    assert found
    assert found[0] is Reason.LATENCY
