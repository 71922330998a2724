"""Deployments as documents, and their events as messages."""

import json
from dataclasses import asdict
from datetime import timedelta

from google.protobuf.message import Message

from tidemill.inference.v1 import events_pb2
from tidemill_inference.domain.deployment import (
    Configuration,
    Deployment,
    DeploymentSpec,
    DeploymentWasConfigured,
    DeploymentWasDeleted,
    RecordMode,
    Retrieval,
    Sampling,
)
from tidemill_kit.aggregates import Identity
from tidemill_kit.domain import Event
from tidemill_kit.mongo import Document


class DeploymentCodec:
    """Implements `tidemill_kit.aggregates.Codec`."""

    schema = 1

    def encode(self, aggregate: Deployment) -> Document:
        """See `Codec.encode`."""
        spec = aggregate.spec
        declared = asdict(spec) | {"deadline": spec.deadline.total_seconds(), "record": spec.record.name}
        live = asdict(aggregate.live)
        for each in (declared, live):
            if each["retrieval"]:  # its names are the user's, and MongoDB may not take them
                each["retrieval"]["metadata_filter"] = json.dumps(each["retrieval"]["metadata_filter"])
        return {"spec": declared, "live": live}

    def decode(self, identity: Identity, state: Document, schema: int) -> Deployment:  # noqa: ARG002 - one so far
        """See `Codec.decode`."""
        spec, live = state["spec"], state["live"]
        return Deployment(
            **asdict(identity),
            spec=DeploymentSpec(
                **{
                    **spec,
                    "retrieval": _retrieval(spec["retrieval"]),
                    "sampling": sampling_of(spec["sampling"]),
                    "fallback": tuple(spec["fallback"]),
                    "deadline": timedelta(seconds=spec["deadline"]),
                    "record": RecordMode[spec["record"]],
                }
            ),
            live=Configuration(
                **{
                    **live,
                    "retrieval": _retrieval(live["retrieval"]),
                    "sampling": sampling_of(live["sampling"]),
                    "fallback": tuple(live["fallback"]),
                }
            ),
        )

    def event(self, aggregate: Deployment, event: Event, seq: int) -> tuple[str, Message]:
        """See `Codec.event`."""
        match event:
            case DeploymentWasConfigured():
                return "tidemill.inference.deployment.configured.v1", events_pb2.DeploymentConfigured(
                    deployment=aggregate.id,
                    seq=seq,
                    configuration=event.configuration.digest,
                    model=event.configuration.model,
                    prompt=event.configuration.prompt,
                    replaced=event.replaced,
                )
            case DeploymentWasDeleted():
                deleted = events_pb2.DeploymentDeleted(deployment=aggregate.id, seq=seq)
                return "tidemill.inference.deployment.deleted.v1", deleted
        raise NotImplementedError(event)


def sampling_of(stored: Document) -> Sampling:
    """Return a stored sampling."""
    return Sampling(**{**stored, "stop": tuple(stored["stop"])})


def _retrieval(stored: Document | None) -> Retrieval | None:
    if stored is None:
        return None
    return Retrieval(**{**stored, "metadata_filter": json.loads(stored["metadata_filter"])})
