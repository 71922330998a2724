"""Rollouts on real servers: two replicas, Kafka, MongoDB and models that are really loaded."""

import asyncio
import json
import time
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from services.inference.tests.process.harness import (
    CONTENT,
    Harness,
    another_replica,
    asked,
    deployment,
    running_inference,
)
from services.inference.tests.tiny_model import write_tiny_model
from tidemill.content.v1 import content_pb2
from tidemill.evaluator.v1 import evaluation_pb2
from tidemill.evaluator.v1 import events_pb2 as evaluator_events
from tidemill.feedback.v1 import events_pb2 as feedback_events
from tidemill.inference.v1 import (
    deployment_pb2,
    deployment_service_pb2,
    inference_pb2,
    inference_service_pb2,
    prompt_pb2,
    prompt_service_pb2,
    rollout_pb2,
)
from tidemill_core.errors import InvalidInput, PreconditionFailed
from tidemill_kit.events.cloudevents import CloudEvent, to_headers
from tidemill_kit.events.kafka import Publisher, read_topic
from tidemill_kit.events.records import OutgoingRecord
from tidemill_local import Addresses
from tidemill_testkit.clocks import NOON
from tidemill_testkit.polling import eventually
from tidemill_testkit.stack import unique_name

POLICY = rollout_pb2.RolloutPolicy(
    gate="helpdesk_gate",
    steps=[
        rollout_pb2.RolloutStep(shadow=True, requests=2),
        rollout_pb2.RolloutStep(weight=50, requests=1000, at_least=10),
    ],
    abort=rollout_pb2.AbortRules(error_rate_above=0.02),
)
SERVING_WITHIN_S = 5.0


async def current(harness: Harness) -> deployment_pb2.Deployment:
    response = await harness.deployments.GetDeployment(deployment_service_pb2.GetDeploymentRequest(id="helpdesk"))
    return response.deployment


async def ask(harness: Harness, user: str, **changes: object) -> inference_pb2.Inference:
    request = asked("What does os.walk do?", end_user=user, **changes)
    return (await harness.inferences.Generate(request)).inference


async def publish(harness: Harness, topic: str, ce_type: str, body: Message) -> None:
    """Publish as the owner would, each time under another key: one of these tests' processes receives each record."""
    reported = MessageToJson(body, preserving_proto_field_name=True, always_print_fields_with_no_presence=True).encode()
    subject = unique_name("told")
    event = CloudEvent(
        id=subject,
        source="/tidemill/told",
        type=ce_type,
        subject=subject,
        project=harness.project,
        time=NOON,
        data=reported,
    )
    publisher = Publisher(harness.stack.kafka)
    await publisher.start()
    key = f"{harness.project}/{subject}".encode()
    await publisher.publish(OutgoingRecord(topic=topic, key=key, value=reported, headers=tuple(to_headers(event))))
    await publisher.stop()


async def passes_the_gate(harness: Harness) -> None:
    """Publish that the candidate passed, until a replica has received it."""
    reported = evaluator_events.EvaluationCompleted(
        evaluation="e1",
        seq=2,
        gate="helpdesk_gate",
        deployment="helpdesk",
        candidate="lora@1",
        baseline_configuration=(await current(harness)).live.digest,
        verdict=evaluation_pb2.VERDICT_PASSED,
    )
    for _ in range(20):
        await publish(
            harness, "tidemill.evaluator.evaluation.v1", "tidemill.evaluator.evaluation.completed.v1", reported
        )
        for _ in range(20):
            if (await current(harness)).HasField("rollout"):
                return
            await asyncio.sleep(0.1)
    pytest.fail("the rollout did not start")


async def is_rated(harness: Harness, inference: inference_pb2.Inference) -> None:
    reported = feedback_events.FeedbackRecorded(
        feedback="f1",
        seq=1,
        inference=inference.id,
        deployment="helpdesk",
        metric="rating",
        number=0.75,
        rollout=inference.variant.rollout,
    )
    for _ in range(20):
        await publish(harness, "tidemill.feedback.feedback.v1", "tidemill.feedback.feedback.recorded.v1", reported)
        for _ in range(20):
            if (await current(harness)).rollout.counts.HasField("candidate_rating"):
                return
            await asyncio.sleep(0.1)
    pytest.fail("the rating did not arrive")


async def promoted(harness: Harness) -> str:
    try:
        await harness.deployments.PromoteRollout(
            deployment_service_pb2.PromoteRolloutRequest(deployment="helpdesk", request_id=unique_name("r"))
        )
    except PreconditionFailed as error:
        return error.reason
    return "promoted"


async def rollout_events(harness: Harness) -> list[str]:
    key = f"{harness.project}/helpdesk".encode()
    found = [
        record
        async for record in read_topic(harness.stack.kafka, "tidemill.inference.deployment.v1")
        if record.key == key
    ]
    # By their ids: two replicas that change the deployment at one moment may both publish an event.
    events = {dict(record.headers)["ce_id"]: record for record in found}.values()
    bodies = sorted((int(json.loads(record.value or b"")["seq"]), dict(record.headers)["ce_type"]) for record in events)
    return [ce_type.decode().removeprefix("tidemill.inference.") for _, ce_type in bodies]


async def test_a_candidate_reaches_the_users_of_every_replica_and_goes_again(stack: Addresses, tmp_path: Path) -> None:
    async with (
        running_inference(stack, tmp_path / "one") as harness,
        another_replica(harness, tmp_path / "two") as other,
    ):
        await harness.add_model("lora", await asyncio.to_thread(write_tiny_model, tmp_path / "lora", seed=9))
        await harness.prompts.CreatePrompt(
            prompt_service_pb2.CreatePromptRequest(prompt=prompt_pb2.Prompt(id="answer", content=CONTENT))
        )
        declared = deployment(follow="lora", rollout_policy=POLICY)
        await harness.deployments.CreateDeployment(deployment_service_pb2.CreateDeploymentRequest(deployment=declared))
        with pytest.raises(PreconditionFailed, match="missing is an evaluation that has passed gate helpdesk_gate"):
            await harness.deployments.PromoteRollout(
                deployment_service_pb2.PromoteRolloutRequest(deployment="helpdesk")
            )
        await passes_the_gate(harness)

        await _shadows(harness, other)
        await _reaches_the_same_people(harness, other)
        await _is_promoted_once(harness, other)
        await _is_taken_back(harness, other, declared)

        async def reported() -> bool:
            return len(await rollout_events(harness)) == 7

        await eventually(reported)
        assert await rollout_events(harness) == [
            "deployment.configured.v1",
            "rollout.started.v1",
            "rollout.advanced.v1",
            "rollout.promoted.v1",
            "deployment.configured.v1",
            "rollout.rolled_back.v1",
            "deployment.configured.v1",
        ]
        await _compares(harness)


async def _shadows(harness: Harness, other: Harness) -> None:
    """The candidate answers copies only, until the canary begins."""

    async def canary() -> bool:
        answers = await asyncio.gather(ask(harness, "u0"), ask(other, "u1"))
        begun = (await current(other)).rollout.state == rollout_pb2.ROLLOUT_STATE_CANARY
        assert begun or {each.variant.name for each in answers} == {"live"}
        return begun

    await eventually(canary)
    listed = await harness.inferences.ListInferences(inference_service_pb2.ListInferencesRequest(page_size=500))
    shadows = [each for each in listed.inferences if each.purpose == inference_pb2.PURPOSE_SHADOW]
    assert {(each.variant.name, each.variant.model) for each in shadows} == {("candidate", "lora@1")}


async def _reaches_the_same_people(harness: Harness, other: Harness) -> None:
    """A canary has the same users in both replicas."""
    users = [f"u{number}" for number in range(12)]

    here: list[inference_pb2.Inference] = []

    async def alike() -> bool:  # a replica has a change of another one within a second
        here[:] = await asyncio.gather(*(ask(harness, user) for user in users))
        there = await asyncio.gather(*(ask(other, user) for user in users))
        return [each.variant.name for each in here] == [each.variant.name for each in there]

    await eventually(alike)
    assert {each.variant.name for each in here} == {"live", "candidate"}
    rollout = (await current(harness)).rollout
    assert {each.variant.rollout for each in here} == {rollout.id}
    (rated, *_) = (each for each in here if each.variant.name == "candidate")
    await is_rated(harness, rated)
    assert (await current(harness)).rollout.counts.candidate_rating == 0.75


async def _is_promoted_once(harness: Harness, other: Harness) -> None:
    """One of two promotions wins, every replica has it soon, and no question fails."""
    asking = asyncio.create_task(_ask_on(other))
    ends = await asyncio.gather(promoted(harness), promoted(other))
    began = time.monotonic()

    async def serves() -> bool:
        after = [await ask(each, "u0") for each in (other, harness)]
        return [(each.variant.name, each.variant.model) for each in after] == [("live", "lora@1")] * 2

    await eventually(serves)
    took_s = time.monotonic() - began
    asking.cancel()
    await asyncio.wait([asking])
    assert asking.cancelled(), asking.exception()
    assert sorted(ends) == ["NO_ACTIVE_ROLLOUT", "promoted"]
    assert took_s < SERVING_WITHIN_S


async def _is_taken_back(harness: Harness, other: Harness, declared: deployment_pb2.Deployment) -> None:
    """What is declared again changes nothing, and one call takes the promotion back."""
    unchanged = (await current(harness)).etag
    again = deployment_service_pb2.UpdateDeploymentRequest(deployment=declared)
    again.update_mask.paths.extend(["model", "follow", "prompt", "retrieval", "sampling", "rollout_policy"])
    assert (await harness.deployments.UpdateDeployment(again)).deployment.etag == unchanged
    back = deployment_service_pb2.RollBackRolloutRequest(deployment="helpdesk", rationale="it rambles")
    assert (await other.deployments.RollBackRollout(back)).deployment.live.model == "tiny@1"

    async def is_back() -> bool:
        return (await ask(harness, "u0")).variant.model == "tiny@1"

    await eventually(is_back)


async def _ask_on(harness: Harness) -> None:
    """Ask and ask until cancelled; a question that fails ends it with its error."""
    number = 0
    while True:
        number += 1
        await ask(harness, f"busy{number}")


async def _compares(harness: Harness) -> None:
    """A candidate answers by name, on passages that are given, for purposes other than LIVE."""
    passage = content_pb2.Passage(document="d9", version=4, start=2, end=9, text="Kestrel walks.")
    purpose = inference_pb2.PURPOSE_EVALUATION
    answer = await ask(harness, "", variant="lora@1", passages=[passage], purpose=purpose)

    assert (answer.variant.name, answer.variant.model, answer.variant.rollout) == ("candidate", "lora@1", "")
    assert [(each.id, each.document, each.text) for each in answer.passages] == [("1", "d9", "Kestrel walks.")]
    stored = (await harness.inferences.GetInference(inference_service_pb2.GetInferenceRequest(id=answer.id))).inference
    assert (stored.purpose, stored.variant.model, stored.passages[0].document) == (purpose, "lora@1", "d9")
    with pytest.raises(InvalidInput, match="variant: is for purposes SHADOW and EVALUATION only"):
        await ask(harness, "", variant="lora@1")
