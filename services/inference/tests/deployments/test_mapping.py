"""Everything of a deployment is sent; a new attribute is either in the contract or named here."""

from dataclasses import replace
from datetime import timedelta

from tidemill.inference.v1 import (
    caching_pb2,
    configuration_pb2,
    conversation_pb2,
    deployment_pb2,
    rollout_pb2,
    routing_pb2,
)
from tidemill_core.approvals import Approval
from tidemill_inference.caching.domain.policy import CachePolicy, SemanticCachePolicy
from tidemill_inference.conversations.domain.policy import ConversationPolicy
from tidemill_inference.deployments.domain.configuration import Configuration, Retrieval, Sampling
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.deployments.domain.spec import DeploymentSpec
from tidemill_inference.deployments.messages import deployment_message, spec_of
from tidemill_inference.rollouts.domain.policy import AbortRules, RolloutPolicy, RolloutStep
from tidemill_inference.rollouts.domain.rollout import Rollout
from tidemill_inference.routing.domain.policy import RoutingPolicy
from tidemill_testkit.mapping import unsent


def test_a_deployment_is_sent_whole() -> None:
    assert unsent(deployment_pb2.Deployment, Deployment, DeploymentSpec) == {
        "spec",
        "evaluations",
        "equals",
        "experiment",
        "ended_experiments",
    }
    assert unsent(configuration_pb2.Configuration, Configuration) == set()
    assert unsent(configuration_pb2.Retrieval, Retrieval) == set()
    assert unsent(configuration_pb2.Sampling, Sampling) == set()
    assert unsent(routing_pb2.RoutingPolicy, RoutingPolicy) == set()
    assert unsent(conversation_pb2.ConversationPolicy, ConversationPolicy) == set()
    assert unsent(caching_pb2.CachePolicy, CachePolicy) == set()
    assert unsent(caching_pb2.SemanticCachePolicy, SemanticCachePolicy) == set()


def test_a_conversation_policy_is_read_as_it_is_sent_and_0_turns_are_the_default() -> None:
    policy = ConversationPolicy(max_turns=7, max_history_tokens=100, summary_model="m", memory_model="m@2")
    spec = DeploymentSpec(model="m", prompt="p", conversation=policy)
    live = Configuration.of(model="m@1", prompt="p@1", retrieval=None, sampling=Sampling())
    message = deployment_message(Deployment(id="d", project="acme", spec=spec, live=live))

    assert spec_of(message).conversation == policy
    message.conversation.Clear()
    message.conversation.SetInParent()
    assert spec_of(message).conversation == ConversationPolicy()
    message.ClearField("conversation")
    assert spec_of(message).conversation is None


def test_a_cache_policy_is_read_as_it_is_sent() -> None:
    semantic = SemanticCachePolicy(embedding="minilm", threshold=0.75)
    cache = CachePolicy(ttl=timedelta(hours=1), semantic=semantic)
    spec = DeploymentSpec(model="m", prompt="p", cache=cache)
    live = Configuration.of(model="m@1", prompt="p@1", retrieval=None, sampling=Sampling())
    message = deployment_message(Deployment(id="d", project="acme", spec=spec, live=live))

    assert message.cache.ttl.ToTimedelta() == timedelta(hours=1)
    assert message.cache.semantic == caching_pb2.SemanticCachePolicy(embedding="minilm", threshold=0.75)
    assert spec_of(message).cache == spec.cache
    message.cache.semantic.ClearField("threshold")
    assert spec_of(message).cache == replace(cache, semantic=replace(semantic, threshold=0.99))
    message.cache.ClearField("semantic")
    assert spec_of(message).cache == CachePolicy(ttl=timedelta(hours=1))
    message.ClearField("cache")
    assert spec_of(message).cache is None


def test_a_rollout_is_sent_but_for_what_drives_it() -> None:
    driving = {"baseline_model", "epoch", "hold", "ready"}
    assert unsent(rollout_pb2.Rollout, Rollout) == driving | {"policy", "baseline"}
    assert unsent(rollout_pb2.RolloutPolicy, RolloutPolicy) == {"approvals", "approver"}
    assert unsent(rollout_pb2.RolloutStep, RolloutStep) == set()
    assert unsent(rollout_pb2.AbortRules, AbortRules) == set()
    assert unsent(rollout_pb2.Approval, Approval) == set()
