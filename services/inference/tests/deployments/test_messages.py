"""Deployments out of messages of the contract: by fields, or by steps."""

from dataclasses import replace
from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration

from services.inference.tests.fakes import helpdesk
from tidemill.inference.v1 import configuration_pb2, deployment_pb2, examples_pb2, routing_pb2
from tidemill_core.errors import InvalidInput
from tidemill_inference.deployments.domain.configuration import Configuration, Sampling
from tidemill_inference.deployments.domain.deployment import DeploymentWasConfigured
from tidemill_inference.deployments.messages import (
    change_of,
    configuration_message,
    deployment_message,
    payload_of,
    spec_of,
)
from tidemill_inference.examples.domain.declared import Examples
from tidemill_inference.routing.domain.policy import Balance, RoutingPolicy
from tidemill_testkit.clocks import NOON

FIELDS = {
    "model": "smollm2",
    "prompt": "answer",
    "retrieval": configuration_pb2.Retrieval(collection="handbook"),
    "sampling": configuration_pb2.Sampling(temperature=0.5),
    "fallback": ["gpt@1"],
}
STEP = configuration_pb2.Step(answer=configuration_pb2.AnswerStep(**FIELDS))  # type: ignore[arg-type] # of any field


def test_one_answer_step_is_the_same_as_its_fields() -> None:
    flat = deployment_pb2.Deployment(follow="lora", record_days=7, **FIELDS)  # type: ignore[arg-type] # ditto
    stepped = deployment_pb2.Deployment(follow="lora", record_days=7, steps=[STEP])

    assert spec_of(stepped) == spec_of(flat)
    assert spec_of(stepped).retrieval is not None


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (
            deployment_pb2.Deployment(steps=[STEP], model="m", fallback=["x"]),
            "repeats fallback, model",
        ),
        (deployment_pb2.Deployment(steps=[STEP, STEP]), "has 2; use one"),
        (deployment_pb2.Deployment(steps=[configuration_pb2.Step()]), "with answer set"),
    ],
)
def test_steps_that_are_not_one_answer_step_alone_are_refused(message: deployment_pb2.Deployment, why: str) -> None:
    with pytest.raises(InvalidInput, match=f"deployment.steps: .*{why}"):
        spec_of(message)


def test_an_update_of_the_steps_is_one_of_all_their_fields() -> None:
    before = spec_of(deployment_pb2.Deployment(model="old", prompt="old", follow="lora", record_days=7))

    change = change_of(deployment_pb2.Deployment(steps=[STEP]), frozenset({"steps"}))

    assert change is not None
    after = change(before)
    assert (after.model, after.fallback, after.sampling) == ("smollm2", ("gpt@1",), Sampling(temperature=0.5))
    assert (after.follow, after.record_days) == ("lora", 7)


def test_a_configuration_is_sent_with_its_steps_and_with_the_fields_of_the_last() -> None:
    configuration = Configuration.of(model="m@1", prompt="p@2", retrieval=None, sampling=Sampling(), fallback=("x@1",))

    message = configuration_message(configuration)

    assert (message.model, message.prompt, list(message.fallback)) == ("m@1", "p@2", ["x@1"])
    assert [step.answer.model for step in message.steps] == ["m@1"]


def test_examples_are_read_and_sent_with_their_defaults_and_are_of_the_step() -> None:
    declared = examples_pb2.Examples(dataset="helpdesk_sft@3", embedding="minilm@1")
    flat = deployment_pb2.Deployment(examples=declared)
    step = configuration_pb2.Step(answer=configuration_pb2.AnswerStep(examples=declared))

    examples = spec_of(flat).examples

    assert examples == Examples(dataset="helpdesk_sft@3", embedding="minilm@1")
    assert spec_of(deployment_pb2.Deployment(steps=[step])).examples == examples
    sent = deployment_message(helpdesk(examples=examples))
    assert (sent.examples.count, sent.examples.by) == (4, examples_pb2.EXAMPLE_SELECTION_SIMILARITY)
    assert sent.live.examples == sent.live.steps[0].answer.examples == sent.examples
    assert not deployment_message(helpdesk()).live.HasField("examples")
    assert spec_of(deployment_pb2.Deployment()).examples is None


def test_a_configuration_is_named_by_its_examples_and_without_any_as_before_there_were_some() -> None:
    without = Configuration.of(model="m@1", prompt="p@1", retrieval=None, sampling=Sampling())
    declared = Examples(dataset="helpdesk_sft@3", embedding="minilm@1")
    shown = without.with_answer(examples=declared)
    others = [replace(declared, dataset="helpdesk_sft@4"), replace(declared, count=2), replace(declared, seed=1)]

    names = [each.digest for each in (without, shown, *(without.with_answer(examples=each) for each in others))]

    assert len(set(names)) == 5
    assert without.digest == "282dbe4ffe0e12724300c0375687779b683ef1d4e026948a1aa12ef8a18949a2"
    live = helpdesk(examples=declared)
    event = DeploymentWasConfigured(occurred_at=NOON, configuration=live.live, replaced="")
    assert payload_of(live, event, 1)[1].examples_dataset == "helpdesk_sft@3"  # type: ignore[attr-defined]


def test_a_routing_policy_is_read_and_sent_with_its_defaults() -> None:
    message = deployment_pb2.Deployment(
        routing=routing_pb2.RoutingPolicy(
            retries=0,
            hedge_after=Duration(nanos=500_000_000),
            equal_models={"gpt_eu": 2},
            balance=routing_pb2.BALANCE_PREFIX,
        )
    )

    routing = spec_of(message).routing

    assert routing == RoutingPolicy(
        retries=0, hedge_after_s=0.5, equal_models={"gpt_eu": 2}, weight=1, balance=Balance.PREFIX
    )
    sent = deployment_message(helpdesk(routing=routing)).routing
    assert (sent.retries, sent.hedge_after.ToTimedelta()) == (0, timedelta(milliseconds=500))
    assert (dict(sent.equal_models), sent.weight, sent.balance) == ({"gpt_eu": 2}, 1, routing_pb2.BALANCE_PREFIX)
    assert not sent.HasField("token_timeout")
    assert spec_of(deployment_pb2.Deployment()).routing is None
