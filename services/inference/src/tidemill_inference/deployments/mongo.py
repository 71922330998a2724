"""Deployments as documents."""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import timedelta

from google.protobuf.message import Message

from tidemill_core.aggregate import Event
from tidemill_inference.deployments.configuration_documents import (
    configuration_document,
    configuration_of,
    retrieval_document,
    retrieval_of,
    sampling_of,
)
from tidemill_inference.deployments.domain.deployment import Deployment, DeploymentSpec, RecordMode
from tidemill_inference.deployments.event_messages import payload_of
from tidemill_inference.engines.ports import LiveModel
from tidemill_inference.rollouts.rollout_documents import policy_document, policy_of, rollout_document, rollout_of
from tidemill_kit.store.aggregates import Identity
from tidemill_kit.store.mongo import Collection, Document, translated

_WITH_ROLLOUTS = 2
"""The schema from which on deployments follow models."""


class DeploymentCodec:
    """Implements `tidemill_kit.store.aggregates.Codec`."""

    schema = _WITH_ROLLOUTS

    def encode(self, aggregate: Deployment) -> Document:
        """See `Codec.encode`."""
        return {
            "spec": _spec_document(aggregate.spec),
            "live": configuration_document(aggregate.live),
            "rollout": rollout_document(aggregate.rollout) if aggregate.rollout else None,
            "evaluations": list(aggregate.evaluations),
            "rollouts_paused": aggregate.rollouts_paused,
        }

    def decode(self, identity: Identity, state: Document, schema: int) -> Deployment:
        """See `Codec.decode`."""
        if schema < _WITH_ROLLOUTS:
            state = _with_rollouts(state)
        return Deployment(
            **identity.fields(),
            spec=_spec_of(state["spec"]),
            live=configuration_of(state["live"]),
            rollout=rollout_of(state["rollout"]) if state["rollout"] else None,
            evaluations=tuple(state["evaluations"]),
            rollouts_paused=state["rollouts_paused"],
        )

    def event(self, aggregate: Deployment, event: Event, seq: int) -> tuple[str, Message]:
        """See `Codec.event`."""
        return payload_of(aggregate, event, seq)


def _with_rollouts(state: Document) -> Document:
    """Return a state from before there were rollouts: it follows nothing."""
    spec = {**state["spec"], "follow": "", "rollout_policy": None}
    return {**state, "spec": spec, "rollout": None, "evaluations": [], "rollouts_paused": False}


def _spec_document(spec: DeploymentSpec) -> Document:
    return asdict(spec) | {
        "retrieval": retrieval_document(spec.retrieval),
        "deadline": spec.deadline.total_seconds(),
        "record": spec.record.name,
        "rollout_policy": policy_document(spec.rollout_policy) if spec.rollout_policy else None,
    }


def _spec_of(stored: Document) -> DeploymentSpec:
    policy = stored["rollout_policy"]
    known = {
        "retrieval": retrieval_of(stored["retrieval"]),
        "sampling": sampling_of(stored["sampling"]),
        "fallback": tuple(stored["fallback"]),
        "deadline": timedelta(seconds=stored["deadline"]),
        "record": RecordMode[stored["record"]],
        "rollout_policy": policy_of(policy) if policy else None,
    }
    return DeploymentSpec(**{**stored, **known})


class MongoLiveModels:
    """Implements `ports.LiveModels`."""

    def __init__(self, deployments: Collection) -> None:
        self._deployments = deployments

    async def among(self, models: Iterable[LiveModel]) -> frozenset[LiveModel]:
        """See `LiveModels.among`."""
        asked = frozenset(models)
        named = {"$in": sorted({model for _, model in asked})}
        of = {"project": {"$in": sorted({project for project, _ in asked})}, "deleted": False}
        answering = {"$or": [{"state.live.model": named}, {"state.live.fallback": named}]}
        requested = {"project": 1, "state.live.model": 1, "state.live.fallback": 1}
        with translated():
            found = await self._deployments.find({**of, **answering}, requested).to_list(None)
        live_configurations = [(document["project"], document["state"]["live"]) for document in found]
        return asked & {
            (project, model) for project, live in live_configurations for model in (live["model"], *live["fallback"])
        }
