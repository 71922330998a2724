"""Rollouts and their policies as documents."""

from dataclasses import asdict, fields, replace
from datetime import timedelta

from tidemill_inference.deployments.configuration_documents import configuration_document, configuration_of
from tidemill_inference.rollouts.domain.policy import AbortRules, OnTimeout, RolloutPolicy, RolloutStep, StickyBy
from tidemill_inference.rollouts.domain.rollout import Approval, Hold, Rollout, RolloutState
from tidemill_inference.rollouts.domain.step_counts import StepCounts
from tidemill_kit.store.mongo import Document

_COUNTS = tuple(each.name for each in fields(StepCounts) if each.compare)
"""What is kept of a step: all but its samples."""


def policy_document(policy: RolloutPolicy) -> Document:
    """Return a policy as it is stored."""
    steps = [{**asdict(step), "at_most": step.at_most.total_seconds()} for step in policy.steps]
    return asdict(policy) | {
        "steps": steps,
        "sticky_by": policy.sticky_by.value,
        "on_timeout": policy.on_timeout.value,
    }


def policy_of(stored: Document) -> RolloutPolicy:
    """Return a stored policy."""
    steps = tuple(RolloutStep(**{**step, "at_most": timedelta(seconds=step["at_most"])}) for step in stored["steps"])
    known = {
        "steps": steps,
        "sticky_by": StickyBy(stored["sticky_by"]),
        "on_timeout": OnTimeout(stored["on_timeout"]),
        "abort": AbortRules(**stored["abort"]),
    }
    return RolloutPolicy(**{**stored, **known})


def rollout_document(rollout: Rollout) -> Document:
    """Return a rollout as it is stored; `active` is there to be searched for."""
    return asdict(replace(rollout, counts=StepCounts())) | {
        "active": rollout.active,
        "candidate": configuration_document(rollout.candidate),
        "policy": policy_document(rollout.policy),
        "state": rollout.state.name,
        "hold": rollout.hold.value if rollout.hold else None,
        "approvals": [asdict(approval) for approval in rollout.approvals],
        "counts": {name: getattr(rollout.counts, name) for name in _COUNTS},
    }


def rollout_of(stored: Document) -> Rollout:
    """Return a stored rollout."""
    known = {
        "candidate": configuration_of(stored["candidate"]),
        "policy": policy_of(stored["policy"]),
        "state": RolloutState[stored["state"]],
        "hold": Hold(stored["hold"]) if stored["hold"] else None,
        "counts": StepCounts(**{name: count for name, count in stored["counts"].items() if name in _COUNTS}),
        "approvals": tuple(Approval(**approval) for approval in stored["approvals"]),
    }
    return Rollout(**{name: value for name, value in {**stored, **known}.items() if name != "active"})
