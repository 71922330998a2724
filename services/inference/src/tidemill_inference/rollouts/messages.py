"""Rollouts and their policies as messages of the contract."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import Enum
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration

from tidemill.inference.v1 import configuration_pb2, rollout_pb2
from tidemill_core.errors import InvalidInput, Violation
from tidemill_inference.deployments.domain.configuration import Configuration
from tidemill_inference.rollouts.domain.policy import (
    APPROVER,
    DEFAULT_STEP_TIMEOUT,
    AbortRules,
    OnTimeout,
    RolloutPolicy,
    RolloutStep,
    StickyBy,
)
from tidemill_inference.rollouts.domain.rollout import Approval, Rollout
from tidemill_inference.rollouts.domain.step_counts import StepCounts
from tidemill_kit.grpc.requests import timestamp_of

E = TypeVar("E", bound=Enum)
_STICKY_BY: dict[int, StickyBy] = {
    rollout_pb2.STICKY_BY_UNSPECIFIED: StickyBy.END_USER,
    rollout_pb2.STICKY_BY_END_USER: StickyBy.END_USER,
    rollout_pb2.STICKY_BY_REQUEST: StickyBy.REQUEST,
}
_ON_TIMEOUT: dict[int, OnTimeout] = {
    rollout_pb2.ON_TIMEOUT_UNSPECIFIED: OnTimeout.HOLD,
    rollout_pb2.ON_TIMEOUT_HOLD: OnTimeout.HOLD,
    rollout_pb2.ON_TIMEOUT_PROMOTE: OnTimeout.PROMOTE,
    rollout_pb2.ON_TIMEOUT_ROLL_BACK: OnTimeout.ROLL_BACK,
}


def policy_of(message: rollout_pb2.RolloutPolicy) -> RolloutPolicy:
    """Return a policy, with defaults for what it leaves out.

    Raises:
        InvalidInput: a word or number is none of those that there are.

    """
    if message.approval.role not in {"", APPROVER}:
        text = f"is {message.approval.role!r}; take {APPROVER}"
        raise InvalidInput.of(Violation(field="rollout_policy.approval.role", description=text))
    return RolloutPolicy(
        gate=message.gate,
        sticky_by=_chosen(message.sticky_by, _STICKY_BY, "rollout_policy.sticky_by"),
        steps=tuple(_step_of(step) for step in message.steps),
        abort=AbortRules(
            error_rate_above=_given(message.abort, "error_rate_above"),
            latency_p95_ratio_above=_given(message.abort, "latency_p95_ratio_above"),
            rating_loss_above=_given(message.abort, "rating_loss_above"),
        ),
        on_timeout=_chosen(message.on_timeout, _ON_TIMEOUT, "rollout_policy.on_timeout"),
        approvals=message.approval.count,
    )


def policy_message(policy: RolloutPolicy) -> rollout_pb2.RolloutPolicy:
    """Return a policy with everything written out."""
    abort = policy.abort
    return rollout_pb2.RolloutPolicy(
        gate=policy.gate,
        sticky_by=rollout_pb2.StickyBy.Value(f"STICKY_BY_{policy.sticky_by.name}"),
        steps=[_step_message(step) for step in policy.steps],
        abort=rollout_pb2.AbortRules(
            error_rate_above=abort.error_rate_above,
            latency_p95_ratio_above=abort.latency_p95_ratio_above,
            rating_loss_above=abort.rating_loss_above,
        ),
        on_timeout=rollout_pb2.OnTimeout.Value(f"ON_TIMEOUT_{policy.on_timeout.name}"),
        approval=rollout_pb2.ApprovalPolicy(role=APPROVER, count=policy.approvals),
    )


def rollout_message(
    rollout: Rollout, configuration_message: Callable[[Configuration], configuration_pb2.Configuration]
) -> rollout_pb2.Rollout:
    """Return a rollout."""
    return rollout_pb2.Rollout(
        id=rollout.id,
        state=rollout_pb2.RolloutState.Value(f"ROLLOUT_STATE_{rollout.state.name}"),
        step=rollout.step,
        evaluation=rollout.evaluation,
        baseline_configuration=rollout.baseline,
        candidate=configuration_message(rollout.candidate),
        counts=_counts_message(rollout.counts),
        message=rollout.message,
        approvals=[_approval_message(each) for each in rollout.approvals],
        start_time=timestamp_of(rollout.start_time),
        step_time=timestamp_of(rollout.step_time),
        finish_time=timestamp_of(rollout.finish_time),
        steps=[_step_message(step) for step in rollout.policy.steps],
    )


def _approval_message(approval: Approval) -> rollout_pb2.Approval:
    return rollout_pb2.Approval(
        approver=approval.approver or "somebody",
        rationale=approval.rationale,
        approve_time=timestamp_of(approval.approve_time),
    )


def _counts_message(counts: StepCounts) -> rollout_pb2.StepCounts:
    return rollout_pb2.StepCounts(
        requests=counts.requests,
        candidate=counts.candidate,
        candidate_failures=counts.candidate_failures,
        baseline_failures=counts.baseline_failures,
        candidate_p95=_seconds(counts.candidate_p95_s),
        baseline_p95=_seconds(counts.baseline_p95_s),
        candidate_rating=counts.candidate_rating,
        baseline_rating=counts.baseline_rating,
    )


def _step_of(message: rollout_pb2.RolloutStep) -> RolloutStep:
    return RolloutStep(
        shadow=message.shadow,
        weight=message.weight,
        requests=message.requests,
        at_least=message.at_least,
        at_most=message.at_most.ToTimedelta() if message.HasField("at_most") else DEFAULT_STEP_TIMEOUT,
    )


def _step_message(step: RolloutStep) -> rollout_pb2.RolloutStep:
    at_most = Duration()
    at_most.FromTimedelta(step.at_most)
    return rollout_pb2.RolloutStep(
        shadow=step.shadow, weight=step.weight, requests=step.requests, at_least=step.at_least, at_most=at_most
    )


def _given(rules: rollout_pb2.AbortRules, name: str) -> float | None:
    value: float | None = getattr(rules, name) if rules.HasField(name) else None  # type: ignore[arg-type] # a field's name
    return value


def _chosen(number: int, values: Mapping[int, E], field: str) -> E:
    """Return the value that a number of the contract means; a newer caller may send one that is not known here."""
    if (value := values.get(number)) is not None:
        return value
    allowed = ", ".join(each.name for each in type(values[0]))
    raise InvalidInput.of(Violation(field=field, description=f"is {number}; take one of {allowed}"))


def _seconds(seconds: float | None) -> Duration | None:
    if seconds is None:
        return None
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return duration
