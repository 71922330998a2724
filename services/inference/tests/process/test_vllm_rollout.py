"""A rollout on the real vLLM, which ends in the middle of it; run by `make verify`, or with TIDEMILL_VLLM=1."""

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from services.inference.tests.engines.contract.models import write_models
from services.inference.tests.process import vllm_child
from services.inference.tests.process.harness import CONTENT, Harness, asked, deployment, running_inference
from services.inference.tests.process.test_rollout_process import ask, current, passes_the_gate
from tidemill.inference.v1 import (
    configuration_pb2,
    deployment_service_pb2,
    inference_pb2,
    inference_service_pb2,
    prompt_pb2,
    prompt_service_pb2,
    rollout_pb2,
)
from tidemill.status.v1.status_service_pb2 import GetStatusRequest
from tidemill.status.v1.status_service_pb2_grpc import StatusServiceStub
from tidemill_core.errors import DependencyUnavailable, PreconditionFailed, TidemillError
from tidemill_local import Addresses
from tidemill_testkit.access import admin_channel
from tidemill_testkit.polling import eventually

pytestmark = [
    pytest.mark.skipif(os.environ.get("TIDEMILL_VLLM") != "1", reason="TIDEMILL_VLLM is not 1"),
    pytest.mark.timeout(1800),
]
POLICY = rollout_pb2.RolloutPolicy(
    gate="helpdesk_gate",
    steps=[
        rollout_pb2.RolloutStep(shadow=True, requests=2),
        rollout_pb2.RolloutStep(weight=50, requests=40, at_least=10),
    ],
    abort=rollout_pb2.AbortRules(error_rate_above=0.02),
)
USERS = [f"u{number}" for number in range(20)]
LONG = configuration_pb2.Sampling(max_output_tokens=700)
MAX_CONCURRENT = 8
STARTS_WITHIN_S = 600
AT_ONCE_S, FREE_WITHIN_S = 5.0, 2.0


async def test_a_rollout_goes_on_after_the_end_of_the_engine_that_both_variants_share(
    stack: Addresses, tmp_path: Path
) -> None:
    changes = vllm_child.CHANGES | {"engine_idle_s": 4.0}
    async with running_inference(stack, tmp_path / "one", changes=changes) as harness:
        await _deployed(harness, tmp_path)
        await passes_the_gate(harness)

        await _shadows(harness)
        await _outlives_its_engine(harness)
        await _is_promoted(harness)
        await _stops_for_a_client_that_leaves(harness)
        await _is_taken_back_and_unloaded(harness)
        await _refuses_a_file_that_was_changed(harness)
        await _fails_at_once_without_what_computes(harness)


async def _deployed(harness: Harness, folder: Path) -> None:
    base, adapted = await asyncio.to_thread(write_models, folder, head_size=vllm_child.HEAD_SIZE, ends=False)
    assert adapted.adapter is not None
    await harness.add_model("wide", base.folder)
    await harness.add_model("lora", adapted.adapter, base="wide@1")
    await harness.prompts.CreatePrompt(
        prompt_service_pb2.CreatePromptRequest(prompt=prompt_pb2.Prompt(id="answer", content=CONTENT))
    )
    declared = deployment(
        model="wide",
        follow="lora",
        rollout_policy=POLICY,
        sampling=configuration_pb2.Sampling(max_output_tokens=8),
        allow_sampling_override=True,
    )
    await harness.deployments.CreateDeployment(deployment_service_pb2.CreateDeploymentRequest(deployment=declared))
    await _answers(harness)


async def _answers(harness: Harness) -> None:
    """Return once vLLM answers, which takes it a minute."""

    async def answers() -> bool:
        return bool((await ask(harness, "first")).variant.engine.startswith("vllm "))

    await eventually(answers, within_s=STARTS_WITHIN_S, despite=(TidemillError,))


async def _shadows(harness: Harness) -> None:
    async def canary() -> bool:
        await ask(harness, "u0")
        return (await current(harness)).rollout.state == rollout_pb2.ROLLOUT_STATE_CANARY

    await eventually(canary, within_s=STARTS_WITHIN_S)
    listed = await harness.inferences.ListInferences(inference_service_pb2.ListInferencesRequest(page_size=500))
    shadows = [
        each.variant
        for each in listed.inferences
        if each.purpose == inference_pb2.PURPOSE_SHADOW and each.state == inference_pb2.INFERENCE_STATE_COMPLETED
    ]
    assert {(each.name, each.model, each.engine.rpartition(" ")[2]) for each in shadows} == {
        ("candidate", "lora@1", "lora")
    }


async def _outlives_its_engine(harness: Harness) -> None:
    """Only answers of the candidate are made when vLLM is killed, and they do not count against it."""
    short = await asyncio.gather(*(ask(harness, user) for user in USERS))
    before, servers = (await current(harness)).rollout, vllm_child.server()
    candidates = [user for user, each in zip(USERS, short, strict=True) if each.variant.name == "candidate"]
    assert 0 < len(candidates) < len(USERS)

    failed, took_s = await _killed_while_it_answers(harness, vllm_child.server(), candidates)

    assert {type(each) for each in failed} == {DependencyUnavailable}
    assert took_s < AT_ONCE_S
    await _is_ready(harness, ready=False)
    began = time.monotonic()
    with pytest.raises(DependencyUnavailable):
        await ask(harness, candidates[0])
    assert time.monotonic() - began < AT_ONCE_S
    await _is_ready(harness)
    assert vllm_child.server() != servers
    again = await ask(harness, candidates[0])
    assert (again.variant.name, again.variant.model, again.variant.rollout) == ("candidate", "lora@1", before.id)
    rollout = (await current(harness)).rollout
    assert (rollout.id, rollout.state) == (before.id, rollout_pb2.ROLLOUT_STATE_CANARY)
    assert rollout.counts.candidate >= before.counts.candidate
    assert (rollout.counts.candidate_failures, rollout.counts.baseline_failures) == (0, 0)


async def _is_promoted(harness: Harness) -> None:
    """Every step is passed, with base and adapter in one batch, and the adapter answers from then on."""

    async def promoted() -> bool:
        await asyncio.gather(*(ask(harness, user) for user in USERS))
        return (await current(harness)).rollout.state == rollout_pb2.ROLLOUT_STATE_PROMOTED

    await eventually(promoted)
    after = (await ask(harness, "u0")).variant
    assert (after.name, after.model) == ("live", "lora@1")
    assert after.engine.endswith("float32 lora")


async def _stops_for_a_client_that_leaves(harness: Harness) -> None:
    """vLLM makes no answers for clients that are gone, streamed or not."""
    request = inference_service_pb2.GenerateStreamRequest(request=asked("Hello", sampling=LONG))
    whole = asyncio.create_task(ask(harness, "whole", sampling=LONG))
    stream = harness.inferences.GenerateStream(request)
    async for event in stream:
        if event.HasField("delta"):
            break
    await _runs(2)

    stream.cancel()
    whole.cancel()
    left = time.monotonic()
    await _runs(0)

    assert time.monotonic() - left < FREE_WITHIN_S


async def _is_taken_back_and_unloaded(harness: Harness) -> None:
    assert len(await vllm_child.models()) == 2
    back = deployment_service_pb2.RollBackRolloutRequest(deployment="helpdesk", rationale="it rambles")
    assert (await harness.deployments.RollBackRollout(back)).deployment.live.model == "wide@1"

    async def unloaded() -> bool:
        return await vllm_child.models() == ["base"]

    await eventually(unloaded)
    assert (await ask(harness, "u0")).variant.model == "wide@1"


async def _refuses_a_file_that_was_changed(harness: Harness) -> None:
    (weights,) = harness.data.rglob("adapter_model.safetensors")
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))

    with pytest.raises(PreconditionFailed, match=r"adapter_model\.safetensors"):
        await ask(harness, "", variant="lora@1", purpose=inference_pb2.PURPOSE_EVALUATION)

    assert await vllm_child.models() == ["base"]


async def _fails_at_once_without_what_computes(harness: Harness) -> None:
    """vLLM's own API outlives the process that computes for some seconds."""
    failed, took_s = await _killed_while_it_answers(harness, vllm_child.core(), USERS)

    assert {type(each) for each in failed} == {DependencyUnavailable}
    assert took_s < AT_ONCE_S


async def _killed_while_it_answers(
    harness: Harness, process: psutil.Process, users: Sequence[str]
) -> tuple[Sequence[object], float]:
    """Return what came of long answers, and how long after the kill."""
    asking = [*users, *users, *users][:MAX_CONCURRENT]
    answers = [asyncio.create_task(ask(harness, user, sampling=LONG)) for user in asking]
    await _runs(len(answers))
    process.kill()
    began = time.monotonic()
    found = await asyncio.gather(*answers, return_exceptions=True)
    return found, time.monotonic() - began


async def _runs(count: int) -> None:
    async def runs() -> bool:
        return await vllm_child.running() == count

    await eventually(runs)


async def _is_ready(harness: Harness, *, ready: bool = True) -> None:
    async with admin_channel(harness.grpc_address, name="inference", project=harness.project, timeout_s=60) as channel:
        status = StatusServiceStub(channel)

        async def is_so() -> bool:
            return (await status.GetStatus(GetStatusRequest())).status.ready is ready

        await eventually(is_so, within_s=STARTS_WITHIN_S)
