"""Every event that inference has ever published stays readable: one golden example each."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToJson, Parse
from google.protobuf.message import Message as ProtoMessage

from tidemill_core.application import derived_id
from tidemill_core.approvals import Approval
from tidemill_inference.budgets.domain.budget import Budget, Kind, Per, Window
from tidemill_inference.budgets.mongo import BUDGETS
from tidemill_inference.deployments.domain.configuration import Configuration, Sampling
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.deployments.domain.spec import DeploymentSpec
from tidemill_inference.deployments.mongo import DEPLOYMENTS
from tidemill_inference.engines.ports import ProviderIdentity
from tidemill_inference.experiments.domain.split import ExperimentHasEnded, Split, SplitArm
from tidemill_inference.generation.domain.content import Citation, Message, Part, Passage, Role
from tidemill_inference.generation.domain.inference import (
    Answer,
    Inference,
    InferenceHasFailed,
    InferenceWasCancelled,
    Lease,
    Usage,
    Variant,
    reserved,
)
from tidemill_inference.generation.domain.question import Question
from tidemill_inference.generation.mongo import INFERENCES
from tidemill_inference.prices.domain.price import Cost, CostItem
from tidemill_inference.prompts.domain.origins import Inherited, VersionOrigin
from tidemill_inference.prompts.domain.prompt import Prompt, PromptContent
from tidemill_inference.prompts.mongo import PROMPTS
from tidemill_inference.providers.domain.remote_model import RemoteModelRecord
from tidemill_inference.providers.mongo import REMOTE_MODELS
from tidemill_inference.rollouts.domain.changes import PassedEvaluation
from tidemill_inference.rollouts.domain.policy import RolloutPolicy, RolloutStep
from tidemill_inference.rollouts.domain.rollout import Decision, Move
from tidemill_inference.rollouts.domain.step_counts import StepCounts

EXAMPLES = Path(__file__).parents[4] / "protos" / "examples"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SAID = "the words of the user"
VARIANT = Variant(
    name="live",
    configuration="c" * 64,
    model="smollm2@1",
    prompt="answer@2",
    index=4,
    engine="transformers 5.23.0",
)


def inference() -> Inference:
    asked = Question(
        deployment="helpdesk", messages=(Message.of(Role.USER, SAID),), end_user="u-17", labels={"product": "vpn"}
    )
    record = reserved(
        asked,
        inference_id=derived_id("acme", "inference", "r-1"),
        project="acme",
        request_id="r-1",
        digest="d",
    )
    record.create_time = NOON
    record.reserve(Lease(owner="o", epoch=0, until=NOON + timedelta(days=1)), record, variant=VARIANT, now=NOON)
    return record


def completed(conversation: str = "") -> ProtoMessage:
    record = inference()
    record.conversation = conversation
    assert record.lease is not None
    part = Part(text=SAID, citations=(Citation(start=0, end=21, passage="1"),))
    answer = Answer(
        output=(Message(role=Role.ASSISTANT, parts=(part,)),),
        variant=VARIANT,
        passages=(
            Passage(id="1", document="d-1", version=3, start=0, end=21, score=0.75, text=SAID),
            Passage(id="2", document="d-2", version=1, start=5, end=50, score=0.5, text=SAID),
        ),
        usage=Usage(input_tokens=210, output_tokens=24, first_token_s=0.5, total_s=1.75, search_s=0.125),
        finish_reason="stop",
        citation_valid=1.0,
        cost=Cost(
            nanos=330_000,
            currency="USD",
            items=(
                CostItem(
                    model="smollm2@1",
                    price="small",
                    price_version=2,
                    input_tokens=210,
                    output_tokens=24,
                    machine_s=1.25,
                    nanos=330_000,
                ),
            ),
        ),
    )
    record.complete(record.lease, answer, now=NOON)
    return INFERENCES.event(record, record.pending[0], 1)[1]


def configured() -> Deployment:
    live = Configuration.of(model="smollm2@1", prompt="answer@2", retrieval=None, sampling=Sampling(temperature=0.0))
    spec = DeploymentSpec(model="smollm2", prompt="answer")
    deployment = Deployment(id="helpdesk", project="acme", spec=spec, live=live)
    deployment.announce(now=NOON)
    deployment.delete(now=NOON)
    return deployment


def rolled_out() -> Deployment:
    """Return a deployment that has emitted every event of rollouts."""
    steps = (RolloutStep(shadow=True, requests=10), RolloutStep(weight=50, requests=40, at_least=15))
    policy = RolloutPolicy(gate="helpdesk_gate", steps=steps)
    live = Configuration.of(model="smollm2@1", prompt="answer@2", retrieval=None, sampling=Sampling(temperature=0.0))
    spec = DeploymentSpec(model="smollm2", prompt="answer", follow="helpdesk_lora", rollout_policy=policy)
    deployment = Deployment(id="helpdesk", project="acme", spec=spec, live=live)
    passed = PassedEvaluation(evaluation="e-1", gate="helpdesk_gate", candidate="helpdesk_lora@1", baseline=live.digest)
    deployment.start_rollout(passed, why_not="", now=NOON)
    assert deployment.rollout is not None
    deployment.begin_rollout(deployment.rollout.id, epoch=1, now=NOON)
    deployment.reconcile_rollout(Decision(move=Move.ADVANCE), StepCounts(), seen=deployment.rollout, now=NOON)
    deployment.approve_rollout("", Approval(approver="user:ada", rationale=SAID, approve_time=NOON))
    deployment.promote_rollout("", message=f"by hand: {SAID}", counts=StepCounts(), now=NOON, by="user:bob")
    deployment.roll_back_rollout("", message=f"by hand: {SAID}", counts=StepCounts(), now=NOON)
    deployment.start_rollout(replace(passed, evaluation="e-2", baseline="b" * 64), why_not="", now=NOON)
    return deployment


def compared_arms() -> Deployment:
    """Return a deployment that has emitted every event of experiments."""
    deployment = configured()
    deployment.pending.clear()
    lora = deployment.live.with_answer(model="lora@1")
    arms = (
        SplitArm(name="now", weight=50, configuration=deployment.live),
        SplitArm(name="lora", weight=50, configuration=lora),
    )
    deployment.run_experiment(Split(run="tone@1", baseline=deployment.live.digest, arms=arms), now=NOON)
    deployment.end_experiment(
        ExperimentHasEnded(
            occurred_at=NOON,
            experiment="tone@1",
            reason="BEST_ARM",
            message="now had 40 users, 40 of them with rating, lora had 41 users, 41 of them with rating",
            best="lora",
            configuration=lora.digest,
        )
    )
    return deployment


def test_a_completed_turn_names_its_conversation() -> None:
    turn, alone = completed("chat-1"), completed()

    assert turn.conversation == "chat-1"  # type: ignore[attr-defined]  # InferenceCompleted
    assert not alone.HasField("conversation")


def exhausted() -> tuple[str, ProtoMessage]:
    budget = Budget(id="per_user", project="acme", per=Per.END_USER, window=Window.DAY, tokens=100_000)
    budget.exhausted(Kind.TOKENS, now=datetime(2026, 11, 2, 16, 30, tzinfo=UTC))
    return BUDGETS.event(budget, budget.pending[0], 1)


def written() -> tuple[str, ProtoMessage]:
    prompt, origin = Prompt(id="answer", project="acme"), VersionOrigin(prompt="brief", version=3, digest="b" * 64)
    prompt.write(PromptContent(user=SAID), digest="c" * 64, now=NOON)
    merged = Inherited(origin=origin, contains=(origin,))
    prompt.write(PromptContent(user=SAID), digest="d" * 64, now=NOON, inherited=merged)
    return PROMPTS.event(prompt, prompt.pending[1], 2)


def changed() -> tuple[str, ProtoMessage]:
    first, second = (
        ProviderIdentity(provider_model="gpt-4o-2024-08-06", system_fingerprint=each)
        for each in ("fp_50cad350e4", "fp_a7d06e42a7")
    )
    record = RemoteModelRecord(id="gpt@1", project="acme", known=(first,))
    record.answered_as(second, now=NOON, min_interval=timedelta(hours=1))
    return REMOTE_MODELS.event(record, record.pending[0], 1)


def published(ce_type: str) -> ProtoMessage:
    record, deployment, rolled, compared = inference(), configured(), rolled_out(), compared_arms()
    made = [
        *(DEPLOYMENTS.event(rolled, event, seq) for seq, event in enumerate(rolled.pending, start=1)),
        INFERENCES.event(record, InferenceHasFailed(occurred_at=NOON, reason="DEPENDENCY_UNAVAILABLE"), 1),
        INFERENCES.event(record, InferenceWasCancelled(occurred_at=NOON), 1),
        exhausted(),
        changed(),
        *(DEPLOYMENTS.event(compared, event, seq) for seq, event in enumerate(compared.pending, start=1)),
        written(),
        *(DEPLOYMENTS.event(deployment, event, seq) for seq, event in enumerate(deployment.pending, start=1)),
    ]
    return {**dict(made), "tidemill.inference.inference.completed.v1": completed()}[ce_type]


@pytest.mark.parametrize(
    "ce_type",
    [
        "tidemill.inference.inference.completed.v1",
        "tidemill.inference.inference.failed.v1",
        "tidemill.inference.inference.cancelled.v1",
        "tidemill.inference.deployment.configured.v1",
        "tidemill.inference.deployment.deleted.v1",
        "tidemill.inference.budget.exhausted.v1",
        "tidemill.inference.experiment.started.v1",
        "tidemill.inference.experiment.ended.v1",
        "tidemill.inference.prompt.version_created.v1",
        "tidemill.inference.remote_model.changed.v1",
        "tidemill.inference.rollout.started.v1",
        "tidemill.inference.rollout.advanced.v1",
        "tidemill.inference.rollout.promoted.v1",
        "tidemill.inference.rollout.rolled_back.v1",
        "tidemill.inference.rollout.refused.v1",
    ],
)
def test_an_event_is_published_as_its_golden_example_and_carries_no_text(ce_type: str) -> None:
    event = published(ce_type)
    golden = (EXAMPLES / f"{ce_type}.json").read_text(encoding="utf-8")

    as_published = MessageToJson(
        event, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=None
    )

    assert json.loads(as_published) == json.loads(golden)
    assert Parse(golden, type(event)()) == event
    assert SAID not in as_published
