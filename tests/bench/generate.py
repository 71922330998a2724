"""Compares Generate with the bare engine (transformers' own `generate`) on the same model, in turns.

The prompts are documents of the standard library with a question each, no two alike, the answers greedy and of up to 48
tokens. The bare engine gets each batch whole, padded; Generate gets as many calls at once, by gRPC, with record,
template and store around each. Each round asks both, one after the other; printed are the median ratios of tokens a
second and of tokens a second of processor time, with the lowest and the highest, while the rest of the stack is idle,
and while it ingests and indexes documents. Then a late call's first token beside eight that run, and memory.

Run with TIDEMILL_TEST_STACK naming a stack.json with services: `python -m tests.bench.generate [model folder]`. Its
numeric format is the one that the service takes on this processor; both have as many threads, of which the service uses
only those that have a processor beside other processes.
"""

import asyncio
import inspect
import itertools
import os
import re
import resource
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any
from uuid import uuid4

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the service has it; before torch is imported

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
from tidemill.ingest.v1.source_pb2 import Source
from tidemill.rag.v1.collection_pb2 import Chunking, Collection
from tidemill.status.v1 import status_service_pb2, status_service_pb2_grpc
from tidemill_client.connection import Addresses, Connection
from tidemill_client.declared import Collections, Sources
from tidemill_client.documents import Documents, NewDocument
from tidemill_client.model_import import folder_source, import_model
from tidemill_core.grpc.client import open_channel
from tidemill_kit.models.numeric_format import computed_format
from tidemill_local.addresses import Addresses as StackAddresses

ROOT = Path(__file__).resolve().parents[2]
TOKENS = 48
BATCH_SIZE = (1, 4, 16)
ROUNDS = 3
UPLOADS = 4
EMBEDDINGS = "all-MiniLM-L6-v2"
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


@dataclass(frozen=True, slots=True)
class Spoken:
    """Tokens of a batch, and what they took."""

    tokens: int
    seconds: float
    processor_s: float


class Bare:
    """transformers' own `generate`, in one thread, whose helpers are then as many as the service's engine has."""

    def __init__(self, folder: Path) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self._model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, computed_format("auto")), attn_implementation="sdpa"
        )

    async def answer(self, batch: Sequence[str]) -> Spoken:
        """Answer a batch at once."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._answered, batch)

    def _answered(self, batch: Sequence[str]) -> Spoken:
        turns = [[{"role": "system", "content": SYSTEM}, {"role": "user", "content": each}] for each in batch]
        began, processor = perf_counter(), process_time()
        encoded = self._tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, padding=True, return_dict=True, return_tensors="pt"
        )
        with torch.inference_mode():
            made = self._model.generate(**encoded, max_new_tokens=TOKENS, do_sample=False)
        answers = made[:, encoded["input_ids"].shape[1] :]
        tokens = int((answers != self._tokenizer.pad_token_id).sum())
        return Spoken(tokens, perf_counter() - began, process_time() - processor)


class ThroughGenerate:
    """Concurrent calls of Generate; the processor time is that of the service's main process."""

    def __init__(self, connection: Connection, metrics: str) -> None:
        self._connection = connection
        self._metrics = metrics

    async def answer(self, batch: Sequence[str]) -> Spoken:
        """Answer a batch of concurrent calls."""
        processor, began = await asyncio.to_thread(processor_s, self._metrics), perf_counter()
        calls = (self._connection.inferences.Generate(_asked(each), timeout=600) for each in batch)
        answers = await asyncio.gather(*calls)
        seconds = perf_counter() - began
        tokens = sum(answer.inference.usage.output_tokens for answer in answers)
        return Spoken(tokens, seconds, await asyncio.to_thread(processor_s, self._metrics) - processor)


def processor_s(metrics: str) -> float:
    """Return the processor time of a service's main process, by the address of its metrics."""
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=60) as response:
        found = re.search(r"^process_cpu_seconds_total (\S+)", response.read().decode(), re.MULTILINE)
    assert found is not None
    return float(found[1])


async def compared(beside: str, ours: ThroughGenerate, theirs: Bare, size: int, texts: Sequence[str]) -> float:
    """Answer in turns, print the ratios, and return the median of tokens a second."""
    pairs = []
    for _ in range(ROUNDS):
        batch = [f"Document {uuid4().hex[:6]}: {text}" for text in texts[:size]]  # no prompt is known from before
        pairs.append((await ours.answer(batch), await theirs.answer(batch)))
    rates = [(our.tokens / our.seconds, their.tokens / their.seconds) for our, their in pairs]
    ratios = sorted(our / their for our, their in rates)
    efforts = sorted(
        (our.tokens / our.processor_s) / (their.tokens / their.processor_s) for our, their in pairs if our.processor_s
    )
    say(
        f"{beside}, {size:2d} at once: {median(our for our, _ in rates):6.1f} tokens/s through Generate, "
        f"{median(their for _, their in rates):6.1f} bare, {_spread(ratios)}, by processor time {_spread(efforts)}"
    )
    return median(ratios)


@asynccontextmanager
async def busy_stack(connection: Connection, texts: Sequence[str]) -> AsyncIterator[None]:
    """Have the stack ingest, split, embed and index documents without a pause, for the length of a block."""
    folder = ROOT / ".tidemill" / "models" / EMBEDDINGS
    await import_model(connection, "embeddings", await folder_source(folder), folder=folder)
    await Sources(connection).create(Source(id="bench"))
    collection = Collection(id="bench", sources=["bench"], embedding="embeddings", chunking=Chunking(max_tokens=128))
    await Collections(connection).create(collection)

    def endless() -> Iterator[NewDocument]:
        for number in itertools.count():
            yield NewDocument(source="bench", key=f"{number}.txt", content=f"{number}. {texts[number % len(texts)]}")

    async def upload() -> None:
        async for _ in Documents(connection).upload_many(endless(), max_concurrent=UPLOADS):
            pass

    uploading = asyncio.create_task(upload())
    try:
        yield
        assert not uploading.done(), "the uploads have ended"
    finally:
        uploading.cancel()
        await asyncio.gather(uploading, return_exceptions=True)


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
    texts = questions(max(BATCH_SIZE) + 10)
    services = {name: each["grpc"] for name, each in stack.services.items()}
    addresses = Addresses(services=services, credential_file=stack.credential_file)
    theirs = await asyncio.to_thread(Bare, folder)
    async with Connection(f"bench-{uuid4().hex[:8]}", addresses) as connection:
        await prepared(connection, folder)
        ours = ThroughGenerate(connection, stack.services["inference"]["metrics"])
        for engine in (ours, theirs):  # for warming up
            await engine.answer(texts[:1])
        idle = [await compared("rest idle", ours, theirs, size, texts) for size in BATCH_SIZE]
        report(f"generate_{BATCH_SIZE[-1]}", idle[-1], "x")
        alone, late = await late_first_token_s(connection, texts[max(BATCH_SIZE) :])
        say(f"first token, warm: {alone:.2f} s alone, {late:.2f} s beside eight that run")
        async with busy_stack(connection, texts):
            await compared("rest busy", ours, theirs, BATCH_SIZE[-1], texts)
        memory = await resident_mb(addresses.of("inference"))
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    load = os.getloadavg()[0]
    say(f"the service holds {memory:.0f} MB, the bare engine's process {own:.0f} MB at most")
    say(f"{computed_format('auto')}, {torch.get_num_threads()} threads, load {load:.1f}")


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _spread(ratios: Sequence[float]) -> str:
    if not ratios:
        return "unknown"
    return f"ratio {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


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
