"""Compares models in vLLM, as inference runs them, with vLLM's own server asked directly, in turns.

One server, the same questions: once through inference's engine (the pool, the chat template and the tokenizer in
their processes, tokens sent, metrics), once by plain HTTP to `/v1/chat/completions`; both streamed, greedy, and of 48
tokens. Printed are the median ratios of tokens a second at 1, 16 and 64 at once; then base and adapter mixed at 16
beside the base alone; each with the ratio of tokens a second of vLLM's processor time, which other work disturbs
less; then what its processes take, by proportional set size. `tests.bench.generate` measures the record, the store
and gRPC. Where vLLM is not installed (`make setup ENGINE=vllm`) nothing is measured.

    python -m services.inference.tests.bench.vllm [--at-once 1 16 64] [--rounds 3] [--tokens 48] [model folder]

Without numbers behind `--at-once` only base and adapter are measured. Without an `--adapter` one of rank 8 on all
linear layers is made, with random weights. In float32 on AVX2 it runs with ATEN_CPU_CAPABILITY=avx2 and
ONEDNN_MAX_CPU_ISA=AVX2, which vLLM is given, too.
"""

import argparse
import asyncio
import contextlib
import json
import re
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from uuid import uuid4

import httpx2
import psutil
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM

from services.inference.tests.engines.contract.test_vllm_contract import PYTHON
from services.inference.tests.engines.operator_keys import OperatorKeys
from services.inference.tests.engines.shop import BUCKET, Live, Shop
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.engines import chat_prompts
from tidemill_inference.engines.chat_prompts import BoundedChat
from tidemill_inference.engines.limits import EngineLimits
from tidemill_inference.engines.loading import EngineOptions
from tidemill_inference.engines.pool import LoadedEngines
from tidemill_inference.engines.ports import Finish, ModelVersion, Prompt
from tidemill_inference.engines.remote import RemoteEngines, RemoteOptions
from tidemill_inference.engines.vllm.base import VllmBase
from tidemill_inference.engines.vllm.options import VllmOptions
from tidemill_inference.generation.domain.content import Message, Role
from tidemill_kit.models import bounded_tokenizers
from tidemill_kit.models.artifacts import ArtifactCache
from tidemill_kit.models.bounded_tokenizers import BoundedTokenizers
from tidemill_kit.models.numeric_format import computed_format
from tidemill_kit.store.objects import ExchangeBucket
from tidemill_kit.workers.bounded_processes import BoundedProcesses, ProcessLimits
from tidemill_testkit.objects import InMemoryObjects

ROOT = Path(__file__).resolve().parents[4]
BATCHES = (1, 16, 64)
MIXED = 16
MAX_LOGIT_BIAS = -100.0
Answer = Callable[[str], Awaitable[int]]


def questions(count: int) -> list[str]:
    """Return so many questions, no two with the same beginning."""
    text = (PYTHON.parents[1] / "lib").glob("python*/site-packages/vllm/envs.py")
    words = re.findall(r"\w+", next(text).read_text(encoding="utf-8"))
    return [f"{uuid4().hex[:8]} {' '.join(words[at * 90 : at * 90 + 90])}. What is this about?" for at in range(count)]


@dataclass(frozen=True, slots=True)
class Rates:
    """Tokens a second of a batch, and of vLLM's processor time."""

    wall: float
    processor: float


async def rates(ask: Sequence[Answer], group: int) -> Rates:
    """Answer all of them at once; `group` is that of vLLM's processes."""
    began, spent = time.perf_counter(), _processor_s(group)
    tokens = sum(await asyncio.gather(*(each(text) for each, text in zip(ask, questions(len(ask)), strict=True))))
    return Rates(tokens / (time.perf_counter() - began), tokens / (_processor_s(group) - spent))


def through(shop: Shop, model: ModelVersion, ends: Sequence[int], *, tokens: int) -> Answer:
    """Return what asks inference's engine; a bias keeps answers from ending."""
    bias = dict.fromkeys(ends, MAX_LOGIT_BIAS)
    sampling = Sampling(temperature=0.0, max_output_tokens=tokens, logit_bias=bias)

    async def ask(text: str) -> int:
        prompt = Prompt(messages=(Message.of(Role.USER, text),), sampling=sampling)
        async with shop.engines.use("bench", model) as engine:
            said = [piece async for piece in engine.generate(prompt, timeout_s=1800)]
        return sum(piece.output_tokens for piece in said if isinstance(piece, Finish))

    return ask


def plainly(client: httpx2.AsyncClient, model: str, ends: Sequence[int], *, tokens: int) -> Answer:
    """Return what asks vLLM's server."""

    async def ask(text: str) -> int:
        body = {
            "model": model,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": tokens,
            "temperature": 0,
            "logit_bias": {str(end): MAX_LOGIT_BIAS for end in ends},
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        made = 0
        async with client.stream("POST", "/v1/chat/completions", json=body) as answered:
            async for line in answered.aiter_lines():
                if line.startswith("data: {") and (usage := json.loads(line[6:]).get("usage")):
                    made = usage["completion_tokens"]
        return made

    return ask


async def compared(name: str, ours: Sequence[Answer], theirs: Sequence[Answer], group: int, *, rounds: int) -> None:
    """Print the median ratios of both, asked in turns."""
    pairs = [(await rates(ours, group), await rates(theirs, group)) for _ in range(rounds)]
    ratios = sorted(our.wall / their.wall for our, their in pairs)
    efforts = sorted(our.processor / their.processor for our, their in pairs)
    say(
        f"{name}: {median(our.wall for our, _ in pairs):.1f} tokens/s beside "
        f"{median(their.wall for _, their in pairs):.1f}, ratio {median(ratios):.2f} "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f}), by processor time {median(efforts):.2f} "
        f"({efforts[0]:.2f} to {efforts[-1]:.2f})"
    )


def a_shop(folder: Path, chat: BoundedChat) -> Shop:
    """Return engines as the service makes them, on a store in memory."""
    objects = InMemoryObjects(BUCKET)
    (folder / "cache").mkdir()
    limits = EngineLimits(cache_tokens=2048)
    kind = computed_format("auto")
    vllm = VllmOptions(folder=folder / "vllm", numeric_format=kind, python=PYTHON, limits=limits)
    options = EngineOptions(
        numeric_format=kind, memory_bytes=1 << 34, run_chat=chat, limits=limits, engine="vllm", vllm=vllm
    )
    cache = ArtifactCache(folder / "cache", ExchangeBucket(objects, BUCKET))
    remote = RemoteEngines(OperatorKeys(), RemoteOptions())
    return Shop(LoadedEngines(cache, remote, Live(), options), Live(), chat, objects, folder)  # type: ignore[arg-type] # not read here


def made_adapter(base: Path, folder: Path) -> Path:
    """Write an adapter with random weights."""
    recipe = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base), recipe)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.01)
    adapted.save_pretrained(str(folder))
    return folder


async def measure(shop: Shop, folder: Path, adapter: Path, given: argparse.Namespace) -> None:
    """Measure, and print."""
    base = await shop.stored("bench", folder, project="bench")
    candidate = replace(await shop.stored("candidate", adapter, project="bench"), base=base)
    began = time.perf_counter()
    async with shop.engines.use("bench", base), shop.engines.use("bench", candidate):
        say(f"base and adapter loaded in {time.perf_counter() - began:.0f} s, {computed_format('auto')}")
        (server,) = (each.loaded.server for each in shop.memory.weights if isinstance(each.loaded, VllmBase))
        ends = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"]
        ends = ends if isinstance(ends, list) else [ends]
        key, process = server._key.get_secret_value(), server.process  # noqa: SLF001 - of this process's own child
        assert process is not None
        headers = {"authorization": f"Bearer {key}"}
        url = f"http://127.0.0.1:{process.port}"
        async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=1800) as client:
            ours = through(shop, base, ends, tokens=given.tokens)
            theirs = plainly(client, "base", ends, tokens=given.tokens)
            for each in (ours, theirs):  # the first answer by either API takes longer
                await rates([each] * 4, process.pid)
            for size in given.at_once:
                name = f"{size:2d} at once, through inference and vLLM alone"
                await compared(name, [ours] * size, [theirs] * size, process.pid, rounds=given.rounds)
        other = through(shop, candidate, ends, tokens=given.tokens)
        mixed, name = [ours, other] * (MIXED // 2), f"base and adapter mixed at {MIXED}, and the base alone"
        await compared(name, mixed, [ours] * MIXED, process.pid, rounds=given.rounds)
        members = _members(process.pid)
        say(f"vLLM's {len(members)} processes take {sum(map(_pss, members)) >> 20} MB")


def _members(group: int) -> list[psutil.Process]:
    return [each for each in psutil.process_iter() if _group(each) == group]


def _processor_s(group: int) -> float:
    spent = 0.0
    for each in _members(group):
        with contextlib.suppress(psutil.Error):
            times = each.cpu_times()
            spent += times.user + times.system
    return spent


def _group(process: psutil.Process) -> int:
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[2])
    return 0


def _pss(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.memory_full_info().pss)
    return 0


async def main(given: argparse.Namespace) -> None:
    """Measure the named model, or the example's."""
    if not PYTHON.exists():
        say("vLLM is not installed: make setup ENGINE=vllm")
        return
    folder = given.model
    limits = ProcessLimits(workers=2, cpu_s=60, wall_s=600, memory_bytes=1 << 32, waiting=1000)
    prompts = BoundedProcesses(limits, "prompts", chat_prompts.IMPORTS)
    tokenizers = BoundedProcesses(limits, "tokenizers", bounded_tokenizers.IMPORTS)
    with tempfile.TemporaryDirectory(prefix="vllm-bench-") as name:
        shop = a_shop(Path(name), BoundedChat(prompts, BoundedTokenizers(tokenizers)))
        adapter = given.adapter or await asyncio.to_thread(made_adapter, folder, Path(name) / "adapter")
        try:
            await measure(shop, folder, adapter, given)
        finally:
            await shop.engines.stop()
            await prompts.stop()
            await tokenizers.stop()


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--at-once", type=int, nargs="*", default=BATCHES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("model", type=Path, nargs="?", default=ROOT / ".tidemill" / "models" / "smollm2")
    asyncio.run(main(parser.parse_args()))
