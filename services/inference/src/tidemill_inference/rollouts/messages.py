"""Rollouts, their policies and their events as messages of the contract."""

from google.protobuf.message import Message

from tidemill.inference.v1 import configuration_pb2, events_pb2, rollout_pb2
from tidemill_core.approvals import OPERATOR
from tidemill_inference.rollouts.domain.policy import RolloutPolicy
from tidemill_inference.rollouts.domain.rollout import (
    Rollout,
    RolloutEvent,
    RolloutHasAdvanced,
    RolloutHasStarted,
    RolloutWasPromoted,
    RolloutWasRefused,
    RolloutWasRolledBack,
)
from tidemill_kit.mapping import from_message, to_message

_ANONYMOUS = "somebody"
"""The approver where the caller has no name: clients of the contract know this word."""


def policy_of(message: rollout_pb2.RolloutPolicy) -> RolloutPolicy:
    """Return a policy, with defaults for what it leaves out.

    Raises:
        InvalidInput: a word or number is none of those that there are.

    """
    return from_message(
        RolloutPolicy,
        message,
        prefix="rollout_policy",
        ignore={"approval"},
        approvals=message.approval.count,
        approver=message.approval.role or OPERATOR,
    )


def policy_message(policy: RolloutPolicy) -> rollout_pb2.RolloutPolicy:
    """Return a policy with everything written out."""
    approval = rollout_pb2.ApprovalPolicy(role=policy.approver, count=policy.approvals)
    return to_message(rollout_pb2.RolloutPolicy, policy, approval=approval)


def rollout_message(rollout: Rollout, *, candidate: configuration_pb2.Configuration) -> rollout_pb2.Rollout:
    """Return a rollout, whose `candidate` the deployment's messages make."""
    return to_message(
        rollout_pb2.Rollout,
        rollout,
        baseline_configuration=rollout.baseline,
        candidate=candidate,
        approvals=[
            to_message(rollout_pb2.Approval, each, approver=each.approver or _ANONYMOUS) for each in rollout.approvals
        ],
        steps=rollout.policy.steps,
        abort=rollout.policy.abort,
    )


def rollout_payload_of(event: RolloutEvent, *, deployment: str, seq: int) -> tuple[str, Message]:
    """Return the ce_type and the payload of an event of a deployment's rollout."""
    of = {"deployment": deployment, "seq": seq}
    match event:
        case RolloutHasStarted():
            started = to_message(events_pb2.RolloutStarted, event, **of, baseline_configuration=event.baseline)
            return "tidemill.inference.rollout.started.v1", started
        case RolloutHasAdvanced():
            return "tidemill.inference.rollout.advanced.v1", to_message(events_pb2.RolloutAdvanced, event, **of)
        case RolloutWasPromoted():
            return "tidemill.inference.rollout.promoted.v1", to_message(events_pb2.RolloutPromoted, event, **of)
        case RolloutWasRolledBack():
            return "tidemill.inference.rollout.rolled_back.v1", to_message(events_pb2.RolloutRolledBack, event, **of)
        case RolloutWasRefused():
            return "tidemill.inference.rollout.refused.v1", to_message(events_pb2.RolloutRefused, event, **of)
    raise NotImplementedError(event)
