"""Prints tokens a second through Generate, beside the bare engine (transformers' own `generate`) on the same model.

The prompts are documents of the standard library with a question each, the answers greedy and of up to 48 tokens. The
bare engine gets each batch whole, padded; Generate gets as many calls at once, by gRPC, with record, template and
store around each. Then a late call's first token beside eight that run, and memory.

Run with TIDEMILL_TEST_STACK naming a stack.json with services: `python -m tests.bench.generate [model folder]`. Its
numeric format is the one that the service takes on this processor; both use as many threads.
"""

import asyncio
import inspect
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the service has it; before torch is imported

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.bench._figures import report
from tidemill.content.v1 import content_pb2
from tidemill.inference.v1 import (
    configuration_pb2,
    deployment_pb2,
    deployment_service_pb2,
    prompt_pb2,
    prompt_service_pb2,
)
from tidemill.inference.v1.inference_service_pb2 import GenerateRequest, GenerateStreamRequest
from tidemill.status.v1 import status_service_pb2, status_service_pb2_grpc
from tidemill_client.connection import Addresses, Connection
from tidemill_client.model_import import folder_source, import_model
from tidemill_core.grpc.client import open_channel
from tidemill_kit.models.numeric_format import computed_format
from tidemill_local.addresses import Addresses as StackAddresses

ROOT = Path(__file__).resolve().parents[2]
TOKENS = 48
BATCH_SIZE = (1, 4, 16)
SYSTEM = "Answer the question about Python in one or two short sentences, from the document."


def questions(count: int) -> list[str]:
    """Return so many documents with a question, no two of them alike."""
    modules = (asyncio, inspect, os, torch.nn.functional)
    documented = [
        (name, text)
        for module in modules
        for name, each in sorted(vars(module).items())
        if callable(each) and (text := inspect.getdoc(each)) and len(text) > 300
    ]
    return [f"{text[:800]}\n\nQuestion: What does {name} do in Python?" for name, text in documented[:count]]


def bare(folder: Path, prompts: Sequence[Sequence[str]]) -> list[float]:
    """Return the bare engine's tokens a second for each batch."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, computed_format("auto")), attn_implementation="sdpa"
    )
    rates = []
    for batch in [prompts[0], *prompts]:  # the first one is for warming up
        turns = [[{"role": "system", "content": SYSTEM}, {"role": "user", "content": each}] for each in batch]
        encoded = tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, padding=True, return_dict=True, return_tensors="pt"
        )
        began = perf_counter()
        with torch.inference_mode():
            made = model.generate(**encoded, max_new_tokens=TOKENS, do_sample=False)
        answers = made[:, encoded["input_ids"].shape[1] :]
        spoken = int((answers != tokenizer.pad_token_id).sum())
        rates.append(spoken / (perf_counter() - began))
    return rates[1:]


async def through_generate(connection: Connection, prompts: Sequence[Sequence[str]]) -> list[float]:
    """Return the tokens a second through Generate for each batch of concurrent calls."""
    rates = []
    for batch in [prompts[0], *prompts]:
        began = perf_counter()
        answers = await asyncio.gather(*(connection.inferences.Generate(_asked(each), timeout=600) for each in batch))
        spoken = sum(answer.inference.usage.output_tokens for answer in answers)
        rates.append(spoken / (perf_counter() - began))
    return rates[1:]


async def late_first_token_s(connection: Connection, prompts: Sequence[str]) -> tuple[float, float]:
    """Return when the first token came: alone, and beside eight calls that were all answering by then."""
    alone = await _first_token_s(connection, prompts[0])
    begun = [asyncio.Event() for _ in range(8)]
    running = [
        asyncio.create_task(_received(connection, text, event)) for text, event in zip(prompts[1:9], begun, strict=True)
    ]
    for event in begun:
        await event.wait()
    late = await _first_token_s(connection, prompts[9])
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    return alone, late


async def prepared(connection: Connection, folder: Path) -> None:
    """Register the model and a deployment without retrieval: what is measured is the engine and what is around it."""
    await import_model(connection, "bench", await folder_source(folder), folder=folder)
    content = prompt_pb2.PromptContent(system=SYSTEM, user="{{ question }}")
    await connection.prompts.CreatePrompt(
        prompt_service_pb2.CreatePromptRequest(prompt=prompt_pb2.Prompt(id="bench", content=content))
    )
    deployment = deployment_pb2.Deployment(
        id="bench",
        model="bench",
        prompt="bench",
        sampling=configuration_pb2.Sampling(temperature=0.0, max_output_tokens=TOKENS),
    )
    deployment.deadline.FromSeconds(600)
    await connection.deployments.CreateDeployment(deployment_service_pb2.CreateDeploymentRequest(deployment=deployment))


async def resident_mb(address: str) -> float:
    """Return what the service holds in memory."""
    async with open_channel(address, name="inference") as channel:
        status = status_service_pb2_grpc.StatusServiceStub(channel)
        response = await status.GetStatus(status_service_pb2.GetStatusRequest())
    return response.status.resident_bytes / 1e6


async def main() -> None:
    """Measure and print."""
    stack = StackAddresses.read(Path(os.environ["TIDEMILL_TEST_STACK"]))
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / ".tidemill" / "models" / "smollm2"
    texts = questions(sum(BATCH_SIZE) + 10)
    batches, start = [], 0
    for size in BATCH_SIZE:
        batches.append(texts[start : start + size])
        start += size
    services = {name: each["grpc"] for name, each in stack.services.items()}
    addresses = Addresses(services=services, credential_file=stack.credential_file)
    async with Connection(f"bench-{uuid4().hex[:8]}", addresses) as connection:
        await prepared(connection, folder)
        ours = await through_generate(connection, batches)
        alone, late = await late_first_token_s(connection, texts[start:])
        memory = await resident_mb(addresses.of("inference"))
    theirs = await asyncio.to_thread(bare, folder, batches)
    lines = [
        f"{size:2d} at once: {our:6.1f} tokens/s through Generate, {their:6.1f} bare, ratio {our / their:.2f}"
        for size, our, their in zip(BATCH_SIZE, ours, theirs, strict=True)
    ]
    lines += [
        f"first token, warm: {alone:.2f} s alone, {late:.2f} s beside eight that run",
        f"the service holds {memory:.0f} MB; {computed_format('auto')}, {torch.get_num_threads()} threads",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    report(f"generate_{BATCH_SIZE[-1]}", ours[-1] / theirs[-1], "x")


def _asked(text: str) -> GenerateRequest:
    message = content_pb2.Message(role=content_pb2.ROLE_USER, parts=[content_pb2.Part(text=text)])
    return GenerateRequest(deployment="bench", messages=[message])


async def _received(connection: Connection, text: str, begun: asyncio.Event) -> None:
    """Read a whole answer, and notify when it has begun."""
    async for response in connection.inferences.GenerateStream(
        GenerateStreamRequest(request=_asked(text)), timeout=600
    ):
        if response.HasField("delta"):
            begun.set()


async def _first_token_s(connection: Connection, text: str) -> float:
    began = perf_counter()
    async for response in connection.inferences.GenerateStream(
        GenerateStreamRequest(request=_asked(text)), timeout=600
    ):
        if response.HasField("delta"):
            return perf_counter() - began
    message = "no token came"
    raise AssertionError(message)


if __name__ == "__main__":
    asyncio.run(main())
