"""Events of deployments and their rollouts as messages."""

from typing import TypedDict

from google.protobuf.message import Message

from tidemill.inference.v1 import events_pb2, rollout_pb2
from tidemill_core.aggregate import Event
from tidemill_inference.deployments.domain.deployment import Deployment, DeploymentWasConfigured, DeploymentWasDeleted
from tidemill_inference.rollouts.domain.rollout import (
    RolloutEvent,
    RolloutHasAdvanced,
    RolloutHasStarted,
    RolloutWasPromoted,
    RolloutWasRefused,
    RolloutWasRolledBack,
)


class _Named(TypedDict):
    deployment: str
    seq: int
    rollout: str
    candidate: str
    configuration: str
    evaluation: str


def payload_of(deployment: Deployment, event: Event, seq: int) -> tuple[str, Message]:
    """Return the ce_type and the payload of an event."""
    match event:
        case DeploymentWasConfigured():
            return "tidemill.inference.deployment.configured.v1", events_pb2.DeploymentConfigured(
                deployment=deployment.id,
                seq=seq,
                configuration=event.configuration.digest,
                model=event.configuration.model,
                prompt=event.configuration.prompt,
                replaced=event.replaced,
            )
        case DeploymentWasDeleted():
            deleted = events_pb2.DeploymentDeleted(deployment=deployment.id, seq=seq)
            return "tidemill.inference.deployment.deleted.v1", deleted
        case RolloutEvent():
            return _rollout(deployment, event, seq)
    raise NotImplementedError(event)


def _rollout(deployment: Deployment, event: RolloutEvent, seq: int) -> tuple[str, Message]:
    named = _Named(
        deployment=deployment.id,
        seq=seq,
        rollout=event.rollout,
        candidate=event.candidate,
        configuration=event.configuration,
        evaluation=event.evaluation,
    )
    match event:
        case RolloutHasStarted():
            started = events_pb2.RolloutStarted(baseline_configuration=event.baseline, **named)
            return "tidemill.inference.rollout.started.v1", started
        case RolloutHasAdvanced():
            return "tidemill.inference.rollout.advanced.v1", events_pb2.RolloutAdvanced(
                state=rollout_pb2.RolloutState.Value(f"ROLLOUT_STATE_{event.state.name}"),
                step=event.step,
                weight=event.weight,
                message=event.message,
                **named,
            )
        case RolloutWasPromoted():
            return "tidemill.inference.rollout.promoted.v1", events_pb2.RolloutPromoted(
                reason=event.reason.value, message=event.message, replaced=event.replaced, **named
            )
        case RolloutWasRolledBack():
            back = events_pb2.RolloutRolledBack(reason=event.reason.value, message=event.message, **named)
            return "tidemill.inference.rollout.rolled_back.v1", back
        case RolloutWasRefused():
            refused = events_pb2.RolloutRefused(reason=event.reason.value, message=event.message, **named)
            return "tidemill.inference.rollout.refused.v1", refused
    raise NotImplementedError(event)
