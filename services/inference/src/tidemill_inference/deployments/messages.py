"""Deployments and their events as messages of the contract."""

from collections.abc import Callable
from dataclasses import fields, replace

from google.protobuf.message import Message

from tidemill.inference.v1 import configuration_pb2, deployment_pb2, events_pb2
from tidemill.inference.v1.caching_pb2 import CachePolicy as CachePolicyMessage
from tidemill.inference.v1.conversation_pb2 import ConversationPolicy as ConversationPolicyMessage
from tidemill.inference.v1.examples_pb2 import Examples as ExamplesMessage
from tidemill_core.aggregate import Event
from tidemill_core.errors import InvalidInput
from tidemill_inference.caching.domain.policy import DEFAULT_THRESHOLD, CachePolicy, SemanticCachePolicy
from tidemill_inference.conversations.domain.policy import DEFAULT_TURNS, ConversationPolicy
from tidemill_inference.deployments.domain.configuration import (
    DEFAULT_QUERY_TURNS,
    DEFAULT_TOP_K,
    AnswerStep,
    Configuration,
    Retrieval,
    Sampling,
    Step,
)
from tidemill_inference.deployments.domain.deployment import Deployment, DeploymentWasConfigured, DeploymentWasDeleted
from tidemill_inference.deployments.domain.spec import DeploymentSpec
from tidemill_inference.examples.domain.declared import (
    DEFAULT_COUNT,
    DEFAULT_SIMILARITY,
    DEFAULT_TOKENS,
    Examples,
)
from tidemill_inference.experiments.domain.split import ExperimentEvent, ExperimentHasEnded, ExperimentHasStarted
from tidemill_inference.rollouts.domain.rollout import RolloutEvent
from tidemill_inference.rollouts.messages import policy_message, policy_of, rollout_message, rollout_payload_of
from tidemill_inference.routing.messages import routing_of
from tidemill_kit.mapping import from_message, to_message

_SPEC = frozenset(each.name for each in fields(DeploymentSpec))
_STEP = frozenset(each.name for each in fields(AnswerStep))
CHANGEABLE = _SPEC | {"labels", "rollouts_paused", "steps"}
"""What an Update may name; `steps` are all fields of the answer step."""


def deployment_message(deployment: Deployment) -> deployment_pb2.Deployment:
    """Return the whole resource."""
    spec, rollout = deployment.spec, deployment.rollout
    return to_message(
        deployment_pb2.Deployment,
        deployment,
        spec,
        retrieval=retrieval_message(spec.retrieval),
        steps=None,
        live=configuration_message(deployment.live),
        rollout=rollout_message(rollout, candidate=configuration_message(rollout.candidate)) if rollout else None,
        rollout_policy=policy_message(spec.rollout_policy) if spec.rollout_policy else None,
        conversation=to_message(ConversationPolicyMessage, spec.conversation) if spec.conversation else None,
    )


def spec_of(message: deployment_pb2.Deployment) -> DeploymentSpec:
    """Return the spec that a request carries, with defaults for what it leaves out.

    Raises:
        InvalidInput: it carries steps that are not one answer step, or what they say a second time.

    """
    step = _answer_step_of(message)
    return from_message(
        DeploymentSpec,
        message,
        prefix="deployment",
        ignore={"id", "labels", "live", "rollout", "rollouts_paused", "steps"},
        model=step.model,
        prompt=step.prompt,
        retrieval=retrieval_of(step.retrieval) if step.HasField("retrieval") else None,
        sampling=from_message(Sampling, step.sampling, prefix="deployment.sampling"),
        fallback=tuple(step.fallback),
        examples=_examples_of(step.examples) if step.HasField("examples") else None,
        rollout_policy=policy_of(message.rollout_policy) if message.HasField("rollout_policy") else None,
        conversation=_conversation_of(message.conversation) if message.HasField("conversation") else None,
        routing=routing_of(message.routing) if message.HasField("routing") else None,
        cache=_cache_of(message.cache) if message.HasField("cache") else None,
    )


def change_of(
    message: deployment_pb2.Deployment, paths: frozenset[str]
) -> Callable[[DeploymentSpec], DeploymentSpec] | None:
    """Return the change that takes the named fields from a request, None where none is of the spec."""
    named = (paths | (_STEP if "steps" in paths else frozenset())) & _SPEC
    if not named:
        return None
    requested = spec_of(message)
    return lambda spec: replace(spec, **{name: getattr(requested, name) for name in named})


def configuration_message(configuration: Configuration) -> configuration_pb2.Configuration:
    """Return a configuration."""
    return to_message(
        configuration_pb2.Configuration,
        configuration,
        retrieval=retrieval_message(configuration.retrieval),
        steps=[_step_message(step) for step in configuration.steps],
    )


def payload_of(deployment: Deployment, event: Event, seq: int) -> tuple[str, Message]:
    """Return the ce_type and the payload of an event of a deployment or its rollout."""
    of = {"deployment": deployment.id, "seq": seq}
    match event:
        case DeploymentWasConfigured():
            live = event.configuration
            dataset = live.examples.dataset if live.examples else ""
            return "tidemill.inference.deployment.configured.v1", to_message(
                events_pb2.DeploymentConfigured, event, live, **of, configuration=live.digest, examples_dataset=dataset
            )
        case DeploymentWasDeleted():
            return "tidemill.inference.deployment.deleted.v1", to_message(events_pb2.DeploymentDeleted, event, **of)
        case RolloutEvent():
            return rollout_payload_of(event, deployment=deployment.id, seq=seq)
        case ExperimentEvent():
            return _experiment_payload(event, deployment=deployment.id, seq=seq)
    raise NotImplementedError(event)


def _experiment_payload(event: ExperimentEvent, *, deployment: str, seq: int) -> tuple[str, Message]:
    of = {"deployment": deployment, "seq": seq}
    match event:
        case ExperimentHasStarted():
            arms = [
                to_message(events_pb2.StartedArm, arm, configuration=arm.configuration.digest) for arm in event.arms
            ]
            return "tidemill.inference.experiment.started.v1", to_message(
                events_pb2.ExperimentStarted, event, **of, arms=arms, baseline_configuration=event.baseline
            )
        case ExperimentHasEnded():
            return "tidemill.inference.experiment.ended.v1", to_message(events_pb2.ExperimentEnded, event, **of)
    raise NotImplementedError(event)


def _answer_step_of(message: deployment_pb2.Deployment) -> deployment_pb2.Deployment | configuration_pb2.AnswerStep:
    """Return what has the fields of the answer step: the step, or the deployment itself."""
    if not message.steps:
        return message
    if doubled := sorted(field.name for field, _ in message.ListFields() if field.name in _STEP):
        text = f"repeats {', '.join(doubled)}: send either steps or these fields"
        raise InvalidInput.at(field="deployment.steps", text=text)
    if len(message.steps) != 1 or not message.steps[0].HasField("answer"):
        raise InvalidInput.at(field="deployment.steps", text=f"has {len(message.steps)}; use one, with answer set")
    return message.steps[0].answer


def _step_message(step: Step) -> configuration_pb2.Step:
    retrieval = retrieval_message(step.retrieval)
    return configuration_pb2.Step(answer=to_message(configuration_pb2.AnswerStep, step, retrieval=retrieval))


def retrieval_of(message: configuration_pb2.Retrieval, *, prefix: str = "deployment.retrieval") -> Retrieval:
    """Return what is searched, with defaults for what it leaves out."""
    return from_message(
        Retrieval,
        message,
        prefix=prefix,
        top_k=message.top_k or DEFAULT_TOP_K,
        query_turns=message.query_turns or DEFAULT_QUERY_TURNS,
    )


def _examples_of(message: ExamplesMessage) -> Examples:
    return from_message(
        Examples,
        message,
        prefix="deployment.examples",
        count=message.count or DEFAULT_COUNT,
        max_tokens=message.max_tokens or DEFAULT_TOKENS,
        min_similarity=message.min_similarity or DEFAULT_SIMILARITY,
    )


def _cache_of(message: CachePolicyMessage) -> CachePolicy:
    semantic, prefix = message.semantic, "deployment.cache"
    return from_message(
        CachePolicy,
        message,
        prefix=prefix,
        semantic=from_message(
            SemanticCachePolicy,
            semantic,
            prefix=f"{prefix}.semantic",
            threshold=semantic.threshold or DEFAULT_THRESHOLD,
        )
        if message.HasField("semantic")
        else None,
    )


def _conversation_of(message: ConversationPolicyMessage) -> ConversationPolicy:
    return from_message(
        ConversationPolicy,
        message,
        prefix="deployment.conversation",
        max_turns=message.max_turns or DEFAULT_TURNS,
    )


def retrieval_message(retrieval: Retrieval | None) -> configuration_pb2.Retrieval | None:
    """Return what is searched."""
    if retrieval is None:
        return None
    return to_message(configuration_pb2.Retrieval, retrieval, metadata_filter=retrieval.metadata_filter or None)
