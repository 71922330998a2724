"""What a rollout decides, and who has its candidate."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tidemill_inference.domain.configuration import Configuration, Sampling
from tidemill_inference.domain.deployment import Deployment, DeploymentSpec, DeploymentWasConfigured
from tidemill_inference.domain.errors import ApprovalsMissing, NoActiveRollout, RolloutLeaseLost, RolloutNotFound
from tidemill_inference.domain.rollout import (
    Approval,
    Decision,
    Hold,
    Move,
    PassedEvaluation,
    Rollout,
    RolloutHasStarted,
    RolloutState,
    RolloutWasPromoted,
    RolloutWasRefused,
    RolloutWasRolledBack,
)
from tidemill_inference.domain.rollout_policy import AbortRules, OnTimeout, RolloutPolicy, RolloutStep, StickyBy
from tidemill_inference.domain.step_counts import CANDIDATE, LIVE, Outcome, Reason, StepCounts
from tidemill_kit.errors import InvalidInput
from tidemill_testkit.clocks import NOON

POLICY = RolloutPolicy(
    gate="helpdesk_gate",
    steps=(
        RolloutStep(shadow=True, requests=10),
        RolloutStep(weight=10, requests=40, at_least=4),
        RolloutStep(weight=50, requests=40, at_least=15, at_most=timedelta(hours=2)),
    ),
    abort=AbortRules(error_rate_above=0.02, latency_p95_ratio_above=1.5, rating_loss_above=0.02),
)
CONFIGURATION = Configuration(model="smollm2@1", prompt="answer@1", retrieval=None, sampling=Sampling())


def deployment(policy: RolloutPolicy | None = POLICY, *, follow: str = "lora") -> Deployment:
    spec = DeploymentSpec(model="smollm2", prompt="answer", follow=follow, rollout_policy=policy)
    return Deployment(id="helpdesk", project="acme", spec=spec, live=CONFIGURATION)


def passed(evaluation: str = "e1", **changes: str) -> PassedEvaluation:
    known = {"gate": "helpdesk_gate", "candidate": "lora@1", "baseline": CONFIGURATION.digest}
    return PassedEvaluation(evaluation=evaluation, **{**known, **changes})


def rolling(policy: RolloutPolicy = POLICY, *, step: int = 0) -> Deployment:
    """Return a deployment whose candidate is loaded and in a step."""
    made = deployment(policy)
    made.start_rollout(passed(), why_not="", now=NOON)
    assert made.rollout is not None
    made.begin_rollout(made.rollout.id, epoch=1, now=NOON)
    for _ in range(step):
        made.tend_rollout(Decision(move=Move.ADVANCE), StepCounts(), seen=made.rollout, now=NOON)
    made.pending.clear()
    return made


def rollout_of(made: Deployment) -> Rollout:
    assert made.rollout is not None
    return made.rollout


def approval(who: str, why: str = "") -> Approval:
    return Approval(approver=who, rationale=why, approve_time=NOON)


def outcomes(
    variant: str, count: int, *, failed: int = 0, seconds: float = 1.0, rating: float | None = None
) -> list[Outcome]:
    return [
        Outcome(
            inference=f"{variant}{number}",
            rollout="r",
            step=1,
            variant=variant,
            failed=number < failed,
            total_s=seconds,
            rating=rating,
        )
        for number in range(count)
    ]


def counted(*found: list[Outcome], shadow: bool = False) -> StepCounts:
    return StepCounts.of([each for some in found for each in some], shadow=shadow)


def who_has_it(made: Deployment, users: int = 5000) -> set[str]:
    names = (f"user-{number}" for number in range(users))
    return {name for name in names if made.choose(end_user=name, request_id="r").variant == CANDIDATE}


def test_a_person_keeps_the_variant_whatever_the_request() -> None:
    made = rolling(step=2)

    for number in range(50):
        chosen = {made.choose(end_user=f"u{number}", request_id=f"r{turn}").variant for turn in range(5)}
        assert len(chosen) == 1


def test_the_share_is_about_the_weight_and_whoever_had_the_candidate_keeps_it_as_the_weight_rises() -> None:
    at_ten, at_fifty = who_has_it(rolling(step=1)), who_has_it(rolling(step=2))

    assert 0.08 < len(at_ten) / 5000 < 0.12
    assert 0.47 < len(at_fifty) / 5000 < 0.53
    assert at_ten < at_fifty


def test_requests_without_a_person_are_spread_by_their_ids_and_policies_may_want_that_for_all() -> None:
    by_person, by_request = rolling(step=2), rolling(replace(POLICY, sticky_by=StickyBy.REQUEST), step=2)

    for made, end_user in ((by_person, ""), (by_request, "u1")):
        chosen = [made.choose(end_user=end_user, request_id=f"r{number}").variant for number in range(2000)]
        assert 0.45 < chosen.count(CANDIDATE) / 2000 < 0.55


def test_another_rollout_picks_other_people() -> None:
    one, other = rolling(step=1), rolling(step=1)
    other.rollout = replace(rollout_of(other), id="another")

    assert who_has_it(one) != who_has_it(other)


def test_in_a_shadow_step_everybody_is_answered_live_and_a_copy_is_asked_of_the_candidate() -> None:
    made = rolling()

    chosen = made.choose(end_user="u1", request_id="r1")

    assert (chosen.variant, chosen.configuration, chosen.shadowed) == (LIVE, CONFIGURATION, True)
    shadow = made.shadowing(chosen.rollout)
    assert (shadow.variant, shadow.configuration.model, shadow.shadowed) == (CANDIDATE, "lora@1", False)


def test_until_the_candidate_is_loaded_nothing_takes_part() -> None:
    made = deployment()
    made.start_rollout(passed(), why_not="", now=NOON)

    assert made.choose(end_user="u1", request_id="r1").rollout == ""
    decision = rollout_of(made).decide(StepCounts(requests=99, candidate=99), now=NOON, paused=False)
    assert decision.move is Move.STAY


def test_a_passed_evaluation_starts_a_rollout_of_the_live_configuration_with_the_candidate() -> None:
    made = deployment()

    made.start_rollout(passed(), why_not="", now=NOON)

    rollout = rollout_of(made)
    assert (rollout.state, rollout.step) == (RolloutState.SHADOW, 0)
    assert rollout.candidate == replace(CONFIGURATION, model="lora@1")
    (event,) = made.pending
    assert isinstance(event, RolloutHasStarted)
    assert (event.rollout, event.baseline) == (rollout.id, CONFIGURATION.digest)


@pytest.mark.parametrize(
    ("made", "given", "why_not", "reason"),
    [
        (deployment(), passed(baseline="other"), "", Reason.BASELINE_CHANGED),
        (rolling(), passed("e2", candidate="lora@2"), "", Reason.ROLLOUT_ACTIVE),
        (deployment(), passed(), "it is gone", Reason.MODEL_NOT_READY),
        (deployment(None), passed(), "", Reason.NO_POLICY),
        (deployment(follow="other"), passed(), "", Reason.NO_POLICY),
    ],
)
def test_an_evaluation_that_cannot_start_a_rollout_is_refused_with_its_reason(
    made: Deployment, given: PassedEvaluation, why_not: str, reason: Reason
) -> None:
    before = made.rollout

    made.start_rollout(given, why_not=why_not, now=NOON)

    (event,) = made.pending
    assert isinstance(event, RolloutWasRefused)
    assert (event.reason, event.candidate) == (reason, given.candidate)
    assert made.rollout == before


def test_the_same_evaluation_again_and_one_of_another_gate_do_nothing() -> None:
    made = rolling()

    made.start_rollout(passed(), why_not="", now=NOON)
    made.start_rollout(passed("e2", gate="another"), why_not="", now=NOON)

    assert made.pending == []


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


def test_a_paused_policy_advances_nothing_and_still_takes_back() -> None:
    rollout = rollout_of(rolling(step=1))
    fine = counted(outcomes(LIVE, 36), outcomes(CANDIDATE, 4))
    bad = counted(outcomes(LIVE, 36), outcomes(CANDIDATE, 4, failed=1))

    assert rollout.decide(fine, now=NOON + timedelta(days=9), paused=True).move is Move.STAY
    assert rollout.decide(bad, now=NOON, paused=True).move is Move.ROLL_BACK


def test_a_pause_that_comes_while_the_candidate_is_loaded_keeps_it_from_beginning() -> None:
    made = deployment()
    made.start_rollout(passed(), why_not="", now=NOON)
    made.pause_rollouts(paused=True, now=NOON)

    made.begin_rollout(rollout_of(made).id, epoch=1, now=NOON)
    assert not rollout_of(made).ready

    made.pause_rollouts(paused=False, now=NOON)
    made.begin_rollout(rollout_of(made).id, epoch=1, now=NOON)
    assert rollout_of(made).ready


@pytest.mark.parametrize(
    ("decision", "done"),
    [
        (Decision(move=Move.ADVANCE), False),
        (Decision(move=Move.HOLD, hold=Hold.PERSON), False),
        (Decision(move=Move.PROMOTE, reason=Reason.STEPS_DONE), False),
        (Decision(move=Move.ROLL_BACK, reason=Reason.TIMEOUT), False),
        (Decision(move=Move.ROLL_BACK, reason=Reason.ERROR_RATE), True),
        (Decision(move=Move.ROLL_BACK, reason=Reason.MODEL_NOT_READY), True),
    ],
)
def test_of_what_was_decided_before_a_pause_only_what_has_to_be_taken_back_is_done(
    *, decision: Decision, done: bool
) -> None:
    made = rolling(step=1)
    seen = rollout_of(made)
    made.pause_rollouts(paused=True, now=NOON)

    made.tend_rollout(decision, StepCounts(), seen=seen, now=NOON)

    assert (rollout_of(made) != seen, bool(made.pending)) == (done, done)
    assert made.live == CONFIGURATION


def test_a_pause_is_no_time_of_the_step_that_it_comes_in() -> None:
    made = rolling(step=2)  # which may last for two hours
    made.pause_rollouts(paused=True, now=NOON + timedelta(hours=1))
    resumed = NOON + timedelta(days=3)

    made.pause_rollouts(paused=False, now=resumed)
    made.pause_rollouts(paused=False, now=resumed + timedelta(hours=1))  # it is paused no more: nothing begins anew

    rollout = rollout_of(made)
    assert rollout.decide(StepCounts(), now=resumed + timedelta(hours=1.9), paused=False).move is Move.STAY
    assert rollout.decide(StepCounts(), now=resumed + timedelta(hours=2), paused=False).move is Move.HOLD


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (counted(outcomes(LIVE, 5), outcomes(CANDIDATE, 4, failed=1)), Reason.ERROR_RATE),
        (counted(outcomes(LIVE, 5), outcomes(CANDIDATE, 3, failed=3)), None),
        (counted(outcomes(LIVE, 5), outcomes(CANDIDATE, 4, seconds=1.6)), Reason.LATENCY),
        (counted(outcomes(LIVE, 5), outcomes(CANDIDATE, 4, seconds=1.4)), None),
        (counted(outcomes(CANDIDATE, 4, seconds=9)), None),
        (counted(outcomes(LIVE, 3), outcomes(CANDIDATE, 8, seconds=9)), None),
        (counted(outcomes(LIVE, 6, failed=3), outcomes(CANDIDATE, 8, seconds=9)), None),
        (counted(outcomes(LIVE, 5, rating=0.9), outcomes(CANDIDATE, 4, rating=0.5)), Reason.RATING),
        (counted(outcomes(LIVE, 3, rating=0.9), outcomes(CANDIDATE, 4, rating=0.5)), None),
        (counted(outcomes(LIVE, 5, rating=0.5), outcomes(CANDIDATE, 4, rating=0.9)), None),
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
    [(9, 9, Move.STAY), (9, 10, Move.ROLL_BACK), (20, 1, Move.ROLL_BACK), (19, 1, Move.STAY)],
)
def test_without_at_least_a_verdict_needs_ten_answers_or_the_end_of_the_step(
    live: int, candidate: int, move: Move
) -> None:
    policy = replace(POLICY, steps=(RolloutStep(shadow=True, requests=20),))
    counts = counted(outcomes(LIVE, live), outcomes(CANDIDATE, candidate, failed=1), shadow=True)

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


def test_the_last_step_waits_for_approvals_and_a_name_counts_once() -> None:
    made = rolling(replace(POLICY, approvals=2), step=2)
    fine = counted(outcomes(LIVE, 25), outcomes(CANDIDATE, 15))

    held = rollout_of(made).decide(fine, now=NOON, paused=False)
    assert (held.move, held.hold) == (Move.HOLD, Hold.APPROVALS)
    made.tend_rollout(held, fine, seen=rollout_of(made), now=NOON)
    made.approve_rollout("", approval("ada", "seen enough"))
    made.approve_rollout("", approval("ada", "again"))
    with pytest.raises(ApprovalsMissing, match="1 of 2"):
        made.promote_rollout("", message="by hand", counts=fine, now=NOON)
    assert rollout_of(made).decide(fine, now=NOON, paused=False).move is Move.STAY
    made.approve_rollout("", approval("bob"))

    decision = rollout_of(made).decide(fine, now=NOON, paused=False)
    assert (decision.move, decision.reason) == (Move.PROMOTE, Reason.STEPS_DONE)
    assert rollout_of(made).approvals == (approval("ada", "seen enough"), approval("bob"))


@pytest.mark.parametrize(
    ("decision", "reason", "message"),
    [
        (Decision(move=Move.PROMOTE, reason=Reason.STEPS_DONE, message="every step was passed"), Reason.STEPS_DONE,
         "every step was passed"),
        (None, Reason.BY_HAND, "by hand"),
    ],
)  # fmt: skip
def test_a_promotion_says_why_but_not_what_people_wrote(
    decision: Decision | None, reason: Reason, message: str
) -> None:
    made = rolling(step=2)

    if decision:
        made.tend_rollout(decision, StepCounts(), seen=rollout_of(made), now=NOON)
    else:
        made.promote_rollout("", message="by hand: Ada likes it", counts=StepCounts(), now=NOON)

    promoted = made.pending[0]
    assert isinstance(promoted, RolloutWasPromoted)
    assert (promoted.reason, promoted.message) == (reason, message)


def test_what_timed_out_before_its_approvals_is_promoted_for_the_timeout() -> None:
    made = rolling(replace(POLICY, approvals=1, on_timeout=OnTimeout.PROMOTE), step=2)
    few, many = StepCounts(), counted(outcomes(LIVE, 25), outcomes(CANDIDATE, 15))
    late = NOON + timedelta(days=2)

    held = rollout_of(made).decide(few, now=late, paused=False)
    made.tend_rollout(held, few, seen=rollout_of(made), now=late)
    made.approve_rollout("", approval("ada"))

    decision = rollout_of(made).decide(many, now=late, paused=False)
    assert (decision.move, decision.reason) == (Move.PROMOTE, Reason.TIMEOUT)


def test_every_call_of_somebody_without_a_name_counts_but_no_more_are_kept_than_a_policy_can_ask_for() -> None:
    made = rolling(replace(POLICY, approvals=2))

    for _ in range(2):
        made.approve_rollout("", approval(""))
    assert rollout_of(made).missing_approvals == 0
    for _ in range(20):
        made.approve_rollout("", approval(""))

    assert len(rollout_of(made).approvals) == 10


def test_promotion_makes_the_candidate_live_and_a_second_one_finds_it_promoted() -> None:
    made = rolling()

    made.promote_rollout("", message="by hand", counts=StepCounts(), now=NOON)

    assert made.live.model == "lora@1"
    promoted, configured = made.pending
    assert isinstance(promoted, RolloutWasPromoted)
    assert isinstance(configured, DeploymentWasConfigured)
    assert promoted.replaced == configured.replaced == CONFIGURATION.digest
    with pytest.raises(NoActiveRollout, match="promoted; missing is an evaluation that has passed gate helpdesk_gate"):
        made.promote_rollout("", message="by hand", counts=StepCounts(), now=NOON)


def test_without_a_rollout_promotion_says_what_is_missing() -> None:
    with pytest.raises(NoActiveRollout, match="missing is an evaluation that has passed gate helpdesk_gate"):
        deployment().promote_rollout("", message="", counts=StepCounts(), now=NOON)
    with pytest.raises(RolloutNotFound):
        rolling().promote_rollout("another", message="", counts=StepCounts(), now=NOON)


def test_a_promotion_can_be_taken_back_and_keeps_what_was_applied_meanwhile() -> None:
    made = rolling()
    made.promote_rollout("", message="", counts=StepCounts(), now=NOON)
    made.configure(made.spec, replace(made.live, prompt="answer@2"), now=NOON)

    made.roll_back_rollout("", message="by hand: it rambles", counts=StepCounts(), now=NOON)

    assert (made.live.model, made.live.prompt) == ("smollm2@1", "answer@2")
    assert rollout_of(made).state is RolloutState.ROLLED_BACK
    assert isinstance(made.pending[-2], RolloutWasRolledBack)
    assert made.pending[-2].message == "by hand"
    assert isinstance(made.pending[-1], DeploymentWasConfigured)
    with pytest.raises(NoActiveRollout):
        made.roll_back_rollout("", message="", counts=StepCounts(), now=NOON)


def test_another_configuration_ends_the_rollout_so_that_the_candidate_is_compared_anew() -> None:
    made = rolling(step=1)

    made.configure(made.spec, replace(made.live, prompt="answer@2"), now=NOON)

    assert rollout_of(made).state is RolloutState.ROLLED_BACK
    _, back, refused = made.pending
    assert isinstance(back, RolloutWasRolledBack)
    assert isinstance(refused, RolloutWasRefused)
    assert back.reason is refused.reason is Reason.BASELINE_CHANGED
    assert made.choose(end_user="u1", request_id="r").rollout == ""


@pytest.mark.parametrize("changes", [{"rollout_policy": None}, {"follow": ""}, {"follow": "other"}])
def test_without_a_policy_or_where_its_model_is_not_followed_the_rollout_ends(changes: dict[str, Any]) -> None:
    made = rolling(step=1)

    made.configure(replace(made.spec, **changes), made.live, now=NOON)

    (back,) = made.pending
    assert isinstance(back, RolloutWasRolledBack)
    assert (rollout_of(made).state, back.reason) == (RolloutState.ROLLED_BACK, Reason.BY_HAND)


def test_whoever_slept_through_a_lease_changes_nothing() -> None:
    made = rolling(step=1)
    seen = rollout_of(made)
    made.rollout = seen.at(seen.epoch + 1)

    with pytest.raises(RolloutLeaseLost):
        made.tend_rollout(Decision(move=Move.PROMOTE), StepCounts(), seen=seen, now=NOON)
    assert made.live == CONFIGURATION


def test_what_was_decided_on_an_earlier_step_is_not_done_in_a_later_one() -> None:
    made = rolling(step=1)
    seen = rollout_of(made)
    made.tend_rollout(Decision(move=Move.ADVANCE), StepCounts(), seen=seen, now=NOON)

    made.tend_rollout(Decision(move=Move.ADVANCE), StepCounts(), seen=seen, now=NOON)

    assert rollout_of(made).step == 2
    assert len(made.pending) == 1


def test_copies_are_no_requests() -> None:
    counts = counted(outcomes(LIVE, 10), outcomes(CANDIDATE, 8, failed=1, seconds=2.0, rating=0.5), shadow=True)

    assert (counts.requests, counts.candidate, counts.candidate_failures) == (10, 8, 1)
    assert (counts.candidate_p95_s, counts.baseline_p95_s, counts.candidate_rating) == (2.0, 1.0, 0.5)


def test_one_slow_answer_of_few_takes_nobody_back() -> None:
    few = [*outcomes(CANDIDATE, 13), *outcomes(CANDIDATE, 2, seconds=9.0)]
    more = [*outcomes(CANDIDATE, 12), *outcomes(CANDIDATE, 3, seconds=9.0)]
    step = RolloutStep(weight=50, requests=30)

    assert counted(outcomes(LIVE, 15), few).candidate_p95_s == 9.0
    assert counted(outcomes(LIVE, 15), few).abort(step, POLICY.abort) is None
    aborted = counted(outcomes(LIVE, 15), more).abort(step, POLICY.abort)
    assert aborted is not None
    assert aborted[0] is Reason.LATENCY


def test_a_step_that_does_not_say_how_many_answers_it_needs_compares_times_from_five_of_the_baseline_on() -> None:
    slow, step = outcomes(CANDIDATE, 15, seconds=9.0), RolloutStep(weight=50, requests=30)

    assert counted(outcomes(LIVE, 4), slow).abort(step, POLICY.abort) is None
    assert counted(outcomes(LIVE, 5), slow).abort(step, POLICY.abort) is not None


@pytest.mark.parametrize("count", [1, 2, 15, 59, 1000, 100_000])
def test_the_bound_of_the_95th_percentile_is_the_binomial_one(count: int) -> None:
    from scipy.stats import binom  # noqa: PLC0415 - a second of imports

    answers = [replace(outcomes(CANDIDATE, 1)[0], total_s=float(number)) for number in range(1, count + 1)]

    assert StepCounts.of(answers, shadow=False).candidate_p95_low_s == count - binom.ppf(0.95, count, 0.05)


STEP = RolloutStep(weight=10, requests=10)


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        ({"gate": ""}, "rollout_policy.gate", "is required"),
        ({"steps": ()}, "rollout_policy.steps", "has 0; take 1 to 20"),
        ({"steps": (STEP, RolloutStep(shadow=True, requests=1))}, "rollout_policy.steps[1].shadow", "come before"),
        ({"steps": (STEP, STEP)}, "rollout_policy.steps[1].weight", "is 10; weights rise"),
        ({"steps": (replace(STEP, weight=101),)}, "rollout_policy.steps[0].weight", "is 101; take 1 to 100"),
        ({"steps": (replace(STEP, shadow=True),)}, "rollout_policy.steps[0].weight", "leave it out"),
        ({"steps": (replace(STEP, requests=0),)}, "rollout_policy.steps[0].requests", "is 0; take 1 to 100000"),
        (
            {"steps": (replace(STEP, at_least=11),)},
            "rollout_policy.steps[0].at_least",
            "is 11; take 0 (for 1) to requests",
        ),
        ({"steps": (replace(STEP, at_most=timedelta()),)}, "rollout_policy.steps[0].at_most", "is 0 s"),
        ({"abort": AbortRules(error_rate_above=2)}, "rollout_policy.abort.error_rate_above", "is 2; take 0 to 1"),
        ({"approvals": 11}, "rollout_policy.approval.count", "is 11; take 0 (for nobody) to 10"),
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
