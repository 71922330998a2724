"""A rollout on the real vLLM, which ends in the middle of it; run by `make verify`, or with TIDEMILL_VLLM=1."""

import asyncio
import os
import time
from collections.abc import Coroutine, Sequence
from itertools import cycle, islice
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
        rollout_pb2.RolloutStep(weight=50, requests=200, at_least=10),
    ],
    abort=rollout_pb2.AbortRules(error_rate_above=0.02),
)
USERS = [f"u{number}" for number in range(20)]
LONG = configuration_pb2.Sampling(max_output_tokens=700)
CALLERS = 4
STARTS_WITHIN_S = 600
AT_ONCE_S = 30.0
"""Far less than these clients wait, which is 60 s, and far more than a failure takes on a busy machine."""
FREE_WITHIN_S = 2.0
"""On a machine that is not too busy at the moment: it is tried again."""


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
    before, server = (await current(harness)).rollout, vllm_child.server()
    candidates = [user for user, each in zip(USERS, short, strict=True) if each.variant.name == "candidate"]
    assert 0 < len(candidates) < len(USERS)

    failed = await _killed_while_it_answers(harness, server, candidates)

    assert {type(each) for each in failed} == {DependencyUnavailable}
    await _is_ready(harness, ready=False)
    with pytest.raises(DependencyUnavailable):
        async with asyncio.timeout(AT_ONCE_S):
            await ask(harness, candidates[0])
    await _is_ready(harness)
    assert vllm_child.server() != server
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

    await eventually(promoted, within_s=STARTS_WITHIN_S)
    after = (await ask(harness, "u0")).variant
    assert (after.name, after.model) == ("live", "lora@1")
    assert after.engine.endswith("float32 lora")


async def _stops_for_a_client_that_leaves(harness: Harness) -> None:
    """vLLM makes no answers for clients that are gone, streamed or not."""
    await eventually(lambda: _is_stopped(_asks_on(harness)))
    await eventually(lambda: _is_stopped(_streams_on(harness)))


async def _is_stopped(asking: Coroutine[object, object, None]) -> bool:
    """Return whether the first answer ended soon after its client left; not so where it was whole before."""
    whole = await vllm_child.whole_answers()
    assert whole > 0, "those before are counted"
    client = asyncio.create_task(asking)
    await _computes()

    client.cancel()
    left = time.monotonic()
    await asyncio.wait([client])
    await _computes(computes=False)

    assert client.cancelled(), client.exception()
    return time.monotonic() - left < FREE_WITHIN_S and await vllm_child.whole_answers() == whole


async def _asks_on(harness: Harness) -> None:
    while True:
        await ask(harness, "whole", sampling=LONG)


async def _streams_on(harness: Harness) -> None:
    request = inference_service_pb2.GenerateStreamRequest(request=asked("Hello", sampling=LONG))
    while True:
        stream = harness.inferences.GenerateStream(request)
        try:
            async for _ in stream:
                pass
        finally:
            stream.cancel()


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
    failed = await _killed_while_it_answers(harness, vllm_child.core(), USERS)

    assert {type(each) for each in failed} == {DependencyUnavailable}


async def _killed_while_it_answers(
    harness: Harness, process: psutil.Process, users: Sequence[str]
) -> Sequence[TidemillError]:
    """Return what several callers got in the end who ask for long answers, again and again, also at the kill."""
    asking = [asyncio.create_task(_asks_until_it_fails(harness, user)) for user in islice(cycle(users), CALLERS)]
    await _computes()
    assert not any(each.done() for each in asking), "none fails before the kill"
    process.kill()
    async with asyncio.timeout(AT_ONCE_S):
        return await asyncio.gather(*asking)


async def _asks_until_it_fails(harness: Harness, user: str) -> TidemillError:
    while True:
        try:
            await ask(harness, user, sampling=LONG)
        except TidemillError as error:
            return error


async def _computes(*, computes: bool = True) -> None:
    async def is_so() -> bool:
        return (await vllm_child.running() > 0) is computes

    await eventually(is_so)


async def _is_ready(harness: Harness, *, ready: bool = True) -> None:
    async with admin_channel(harness.grpc_address, name="inference", project=harness.project, timeout_s=60) as channel:
        status = StatusServiceStub(channel)

        async def is_so() -> bool:
            return (await status.GetStatus(GetStatusRequest())).status.ready is ready

        await eventually(is_so, within_s=STARTS_WITHIN_S)
