"""Deployments as messages of the contract."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct

from tidemill.inference.v1 import configuration_pb2, deployment_pb2
from tidemill_inference.deployments.domain.configuration import (
    DEFAULT_QUERY_TURNS,
    DEFAULT_TOP_K,
    Configuration,
    Retrieval,
    Sampling,
)
from tidemill_inference.deployments.domain.deployment import DEFAULT_DEADLINE, Deployment, DeploymentSpec, RecordMode
from tidemill_inference.rollouts.messages import policy_message, policy_of, rollout_message
from tidemill_kit.grpc.requests import etag_of, timestamp_of

_MODES: dict[deployment_pb2.RecordMode.ValueType, RecordMode] = {
    deployment_pb2.RECORD_MODE_NONE: RecordMode.NONE,
    deployment_pb2.RECORD_MODE_METADATA: RecordMode.METADATA,
    deployment_pb2.RECORD_MODE_FULL: RecordMode.FULL,
}
_READERS: dict[str, Callable[[deployment_pb2.Deployment], Any]] = {
    "model": lambda message: message.model,
    "prompt": lambda message: message.prompt,
    "retrieval": lambda message: _retrieval_of(message.retrieval) if message.HasField("retrieval") else None,
    "sampling": lambda message: sampling_of(message.sampling),
    "fallback": lambda message: tuple(message.fallback),
    "deadline": lambda message: message.deadline.ToTimedelta() if message.HasField("deadline") else DEFAULT_DEADLINE,
    "record": lambda message: record_mode_of(message.record) or RecordMode.FULL,
    "allow_sampling_override": lambda message: message.allow_sampling_override,
    "follow": lambda message: message.follow,
    "record_days": lambda message: message.record_days,
    "rollout_policy": lambda message: policy_of(message.rollout_policy) if message.HasField("rollout_policy") else None,
}
CHANGEABLE = frozenset({*_READERS, "labels", "rollouts_paused"})
"""What an Update may name."""


def deployment_message(deployment: Deployment) -> deployment_pb2.Deployment:
    """Return the whole resource."""
    spec = deployment.spec
    return deployment_pb2.Deployment(
        id=deployment.id,
        project=deployment.project,
        seq=deployment.seq,
        etag=etag_of(deployment.version),
        labels=deployment.labels,
        create_time=timestamp_of(deployment.create_time),
        update_time=timestamp_of(deployment.update_time),
        model=spec.model,
        prompt=spec.prompt,
        retrieval=_retrieval_message(spec.retrieval),
        sampling=_sampling_message(spec.sampling),
        fallback=spec.fallback,
        deadline=_duration(spec.deadline),
        record=deployment_pb2.RecordMode.Value(f"RECORD_MODE_{spec.record.name}"),
        allow_sampling_override=spec.allow_sampling_override,
        live=configuration_message(deployment.live),
        rollout=rollout_message(deployment.rollout, configuration_message) if deployment.rollout else None,
        rollout_policy=policy_message(spec.rollout_policy) if spec.rollout_policy else None,
        follow=spec.follow,
        record_days=spec.record_days,
        rollouts_paused=deployment.rollouts_paused,
    )


def spec_of(message: deployment_pb2.Deployment) -> DeploymentSpec:
    """Return the spec that a request carries, with defaults for what it leaves out."""
    return DeploymentSpec(**{name: read(message) for name, read in _READERS.items()})


def change_of(
    message: deployment_pb2.Deployment, paths: frozenset[str]
) -> Callable[[DeploymentSpec], DeploymentSpec] | None:
    """Return the change that takes the named fields from a request, None where none is of the spec."""
    changed = {name: read(message) for name, read in _READERS.items() if name in paths}
    return (lambda spec: replace(spec, **changed)) if changed else None


def sampling_of(message: configuration_pb2.Sampling) -> Sampling:
    """Return a sampling; a field that is not set says nothing."""

    def given(name: str) -> Any:  # noqa: ANN401 - the field's type
        return getattr(message, name) if message.HasField(name) else None  # type: ignore[arg-type] # a field's name

    return Sampling(
        temperature=given("temperature"),
        top_p=given("top_p"),
        max_output_tokens=given("max_output_tokens"),
        seed=given("seed"),
        stop=tuple(message.stop),
    )


def record_mode_of(mode: deployment_pb2.RecordMode.ValueType) -> RecordMode | None:
    """Return a mode, None where none was said."""
    return _MODES.get(mode)


def _retrieval_of(message: configuration_pb2.Retrieval) -> Retrieval:
    return Retrieval(
        collection=message.collection,
        top_k=message.top_k or DEFAULT_TOP_K,
        index=message.index,
        metadata_filter=MessageToDict(message.metadata_filter),
        min_score=message.min_score,
        query_turns=message.query_turns or DEFAULT_QUERY_TURNS,
    )


def _retrieval_message(retrieval: Retrieval | None) -> configuration_pb2.Retrieval | None:
    if retrieval is None:
        return None
    return configuration_pb2.Retrieval(
        collection=retrieval.collection,
        top_k=retrieval.top_k,
        index=retrieval.index,
        metadata_filter=ParseDict(dict(retrieval.metadata_filter), Struct()) if retrieval.metadata_filter else None,
        min_score=retrieval.min_score,
        query_turns=retrieval.query_turns,
    )


def _sampling_message(sampling: Sampling) -> configuration_pb2.Sampling:
    return configuration_pb2.Sampling(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_output_tokens=sampling.max_output_tokens,
        seed=sampling.seed,
        stop=sampling.stop,
    )


def configuration_message(configuration: Configuration) -> configuration_pb2.Configuration:
    """Return a configuration."""
    return configuration_pb2.Configuration(
        digest=configuration.digest,
        model=configuration.model,
        prompt=configuration.prompt,
        retrieval=_retrieval_message(configuration.retrieval),
        sampling=_sampling_message(configuration.sampling),
        fallback=configuration.fallback,
    )


def _duration(span: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(span)
    return duration
