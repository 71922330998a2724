"""What a rollout decides, and who has its candidate."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.inference.tests.rollouts.rolling import (
    CONFIGURATION,
    POLICY,
    approval,
    counted,
    deployment,
    outcomes,
    passed,
    rolling,
    rollout_of,
)
from tidemill_inference.deployments.domain.deployment import Deployment, DeploymentWasConfigured
from tidemill_inference.rollouts.domain.changes import PassedEvaluation
from tidemill_inference.rollouts.domain.errors import (
    ApprovalsMissing,
    NoActiveRollout,
    RolloutLeaseLost,
    RolloutNotFound,
)
from tidemill_inference.rollouts.domain.policy import OnTimeout, StickyBy
from tidemill_inference.rollouts.domain.rollout import (
    Decision,
    Hold,
    Move,
    RolloutHasStarted,
    RolloutState,
    RolloutWasPromoted,
    RolloutWasRefused,
    RolloutWasRolledBack,
)
from tidemill_inference.rollouts.domain.step_counts import CANDIDATE, LIVE, Reason, StepCounts
from tidemill_testkit.clocks import NOON


def users_of_candidate(made: Deployment, users: int = 1500) -> set[str]:
    names = (f"user-{number}" for number in range(users))
    return {name for name in names if made.choose(end_user=name, request_id="r").variant == CANDIDATE}


def test_a_person_keeps_the_variant_whatever_the_request() -> None:
    made = rolling(step=2)

    for number in range(50):
        chosen = {made.choose(end_user=f"u{number}", request_id=f"r{turn}").variant for turn in range(5)}
        assert len(chosen) == 1


def test_the_share_is_about_the_weight_and_users_of_the_candidate_keep_it_as_the_weight_rises() -> None:
    at_ten, at_fifty = users_of_candidate(rolling(step=1)), users_of_candidate(rolling(step=2))

    assert 0.07 < len(at_ten) / 1500 < 0.13
    assert 0.45 < len(at_fifty) / 1500 < 0.55
    assert at_ten < at_fifty


def test_requests_without_a_person_are_spread_by_their_ids_and_policies_may_ask_for_that_for_all() -> None:
    by_person, by_request = rolling(step=2), rolling(replace(POLICY, sticky_by=StickyBy.REQUEST), step=2)

    for made, end_user in ((by_person, ""), (by_request, "u1")):
        chosen = [made.choose(end_user=end_user, request_id=f"r{number}").variant for number in range(1000)]
        assert 0.43 < chosen.count(CANDIDATE) / 1000 < 0.57


def test_another_rollout_picks_other_people() -> None:
    one, other = rolling(step=1), rolling(step=1)
    other.rollout = replace(rollout_of(other), id="another")

    assert users_of_candidate(one) != users_of_candidate(other)


def test_in_a_shadow_step_every_user_is_answered_live_and_a_copy_is_asked_of_the_candidate() -> None:
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
    assert rollout.candidate == CONFIGURATION.with_answer(model="lora@1")
    (event,) = made.pending
    assert isinstance(event, RolloutHasStarted)
    assert (event.rollout, event.baseline) == (rollout.id, CONFIGURATION.digest)


@pytest.mark.parametrize(
    ("made", "given", "why_not", "reason"),
    [
        (deployment(), passed(baseline="other"), "", Reason.BASELINE_CHANGED),
        (rolling(), passed("e2", candidate="lora@2"), "", Reason.ROLLOUT_ACTIVE),
        (rolling(), passed("e2"), "", Reason.SAME_CANDIDATE),
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


def test_a_paused_policy_advances_nothing_and_still_takes_back() -> None:
    rollout = rollout_of(rolling(step=1))
    fine = counted(outcomes(LIVE, 36), outcomes(CANDIDATE, 4))
    bad = counted(outcomes(LIVE, 36), outcomes(CANDIDATE, 4, failed=3))

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

    made.reconcile_rollout(decision, StepCounts(), seen=seen, now=NOON)

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


def test_the_last_step_waits_for_approvals_and_a_name_counts_once() -> None:
    made = rolling(replace(POLICY, approvals=2), step=2)
    fine = counted(outcomes(LIVE, 25), outcomes(CANDIDATE, 15))

    held = rollout_of(made).decide(fine, now=NOON, paused=False)
    assert (held.move, held.hold) == (Move.HOLD, Hold.APPROVALS)
    made.reconcile_rollout(held, fine, seen=rollout_of(made), now=NOON)
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
        made.reconcile_rollout(decision, StepCounts(), seen=rollout_of(made), now=NOON)
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
    made.reconcile_rollout(held, few, seen=rollout_of(made), now=late)
    made.approve_rollout("", approval("ada"))

    decision = rollout_of(made).decide(many, now=late, paused=False)
    assert (decision.move, decision.reason) == (Move.PROMOTE, Reason.TIMEOUT)


def test_every_call_of_a_user_without_a_name_counts_but_no_more_are_kept_than_a_policy_can_ask_for() -> None:
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
    made.configure(made.spec, made.live.with_answer(prompt="answer@2"), now=NOON)

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

    made.configure(made.spec, made.live.with_answer(prompt="answer@2"), now=NOON)

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


def test_a_worker_that_slept_through_its_lease_changes_nothing() -> None:
    made = rolling(step=1)
    seen = rollout_of(made)
    made.rollout = seen.at(seen.epoch + 1)

    with pytest.raises(RolloutLeaseLost):
        made.reconcile_rollout(Decision(move=Move.PROMOTE), StepCounts(), seen=seen, now=NOON)
    assert made.live == CONFIGURATION


def test_what_was_decided_on_an_earlier_step_is_not_done_in_a_later_one() -> None:
    made = rolling(step=1)
    seen = rollout_of(made)
    made.reconcile_rollout(Decision(move=Move.ADVANCE), StepCounts(), seen=seen, now=NOON)

    made.reconcile_rollout(Decision(move=Move.ADVANCE), StepCounts(), seen=seen, now=NOON)

    assert rollout_of(made).step == 2
    assert len(made.pending) == 1
