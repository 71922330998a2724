"""What int8 weights, or fewer layers, gain and lose: bytes on disk and in memory, tokens a second, and answers.

`python -m tests.bench.smaller [--questions 64] [--base FOLDER] [--adapter FOLDER] [--drop-layers N]`, about three
minutes with SmolLM2. Layers are dropped by what they do on other questions than those that are asked.
Trainer's deriving process makes the version, and inference's engine serves each of the two in a process of its own, in
the format that serving computes in here. Memory is that of the tensors, and what the process has resident after its
answers beside what it had before it loaded the model. Answers are compared as a gate does: ROUGE-L to the references,
and the interval of the paired difference, which has to lie above the margin.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil
import torch

from services.inference.tests.engines.shop import ChatHere
from tests.bench._figures import report
from tests.bench.preferences import Question, questions, scores
from tidemill_evaluator.statistics.intervals import BettingIntervals
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.engines.limits import EngineLimits
from tidemill_inference.engines.loading import import_libraries
from tidemill_inference.engines.ports import Finish, Piece, Prompt
from tidemill_inference.generation.domain.content import Message, Role
from tidemill_kit.models.numeric_format import computed_format
from tidemill_trainer.derivations.deriving_processes import DerivingProcesses
from tidemill_trainer.derivations.methods import DropLayers, Merge, Method, Quantize
from tidemill_trainer.derivations.ports import DerivationFolder, DerivationJob

ROOT = Path(__file__).resolve().parents[2]
AT_ONCE = (1, 4, 16)
TOKENS = 48
MARGIN = -0.02
LIMITS = EngineLimits(cache_tokens=16384)


async def derived(base: Path, folder: Path, *, adapter: Path | None, method: Method) -> tuple[Path, float]:
    """Make a version, as a worker does; return its folder, and how long the process took."""
    await asyncio.to_thread(folder.mkdir)
    await asyncio.to_thread(_write_examples, DerivationFolder(path=folder).calibration)
    begun = time.perf_counter()
    processes = DerivingProcesses(memory_bytes=2**33, time_s=600, max_file_bytes=2**40)
    job = DerivationJob(
        folder=DerivationFolder(path=folder), weights=base, weights_name="base@1", adapter=adapter, method=method
    )
    await processes(job)
    return job.folder.made, time.perf_counter() - begun


def _write_examples(path: Path) -> None:
    """Write other questions than those that are asked, as examples of a dataset version."""
    with path.open("w", encoding="utf-8") as lines:
        for each in questions(331)[1::5]:
            answered = [*each.messages, {"role": "assistant", "content": each.reference}]
            turns = [
                {"role": f"ROLE_{turn['role'].upper()}", "parts": [{"text": turn["content"]}]} for turn in answered
            ]
            lines.write(json.dumps({"messages": turns[:-1], "output": turns[-1]}) + "\n")


async def served(folder: Path, asked: Sequence[Question]) -> dict[str, Any]:
    """Answer by inference's engine in this process; return answers, speed and memory."""
    import_libraries()
    from tidemill_inference.engines.transformers.engine import TransformersEngine  # noqa: PLC0415 - after what it leaves out
    from tidemill_inference.engines.transformers.weights import ModelWeights  # noqa: PLC0415 - ditto

    before = psutil.Process().memory_info().rss
    weights = ModelWeights(folder, name="m@1", dtype=getattr(torch, computed_format("auto")))
    engine = TransformersEngine(weights, name="m@1", limits=LIMITS, run_chat=ChatHere())
    engine.start()

    async def answer(question: Question, limit: int = TOKENS) -> tuple[str, int]:
        messages = tuple(Message.of(Role[each["role"].upper()], each["content"]) for each in question.messages)
        prompt = Prompt(messages=messages, sampling=Sampling(temperature=0.0, max_output_tokens=limit))
        text, tokens = "", 0
        async for piece in engine.generate("bench", prompt, timeout_s=600):
            if isinstance(piece, Finish):
                tokens = piece.output_tokens
            elif isinstance(piece, Piece):
                text += piece.text
        return text, tokens

    await answer(asked[0])
    speeds = {}
    for at_once in AT_ONCE:
        begun = time.perf_counter()
        made = await asyncio.gather(*(answer(each) for each in asked[:at_once]))
        speeds[at_once] = sum(tokens for _, tokens in made) / (time.perf_counter() - begun)
    turns = asyncio.Semaphore(max(AT_ONCE))

    async def in_turn(question: Question) -> str:
        async with turns:
            return (await answer(question))[0]

    texts = await asyncio.gather(*map(in_turn, asked))
    resident = psutil.Process().memory_info().rss - before
    await asyncio.to_thread(engine.close)
    return {"texts": texts, "speeds": speeds, "bytes": weights.bytes, "resident": resident}


def apart(folder: Path, count: int) -> dict[str, Any]:
    """Serve in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.smaller", "--serve", str(folder), "--questions", str(count)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout  # noqa: S603 - ourselves
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


def _disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


async def main(options: argparse.Namespace) -> None:
    """Print what each takes, how fast it is, and the difference of their answers."""
    asked, say = questions(options.questions), sys.stdout.write
    if options.serve:
        say(json.dumps(await served(options.serve, asked)) + "\n")
        return
    with tempfile.TemporaryDirectory() as name:
        method = DropLayers(layers=options.drop_layers, calibration="other") if options.drop_layers else Quantize()
        smaller = f"{options.drop_layers} fewer" if options.drop_layers else "int8"
        made, seconds = await derived(options.base, Path(name, "smaller"), adapter=options.adapter, method=method)
        say(f"made in {seconds:.1f} s; {computed_format('auto')}; {len(asked)} questions\n")
        before = options.base
        if options.adapter:
            before, _ = await derived(options.base, Path(name, "merged"), adapter=options.adapter, method=Merge())
        folders = {"as it is": before, smaller: made}
        found = {kind: await asyncio.to_thread(apart, folder, len(asked)) for kind, folder in folders.items()}
        disk = {kind: _disk(folder) for kind, folder in folders.items()}
    rouge = {kind: scores(asked, each["texts"]) for kind, each in found.items()}
    for kind, each in found.items():
        speeds = " / ".join(f"{speed:.0f}" for speed in each["speeds"].values())
        say(
            f"{kind:9} disk {disk[kind] / 1e6:.1f} MB  tensors {each['bytes'] / 1e6:.1f} MB  "
            f"resident {each['resident'] / 1e6:.0f} MB  {speeds} tokens/s at {AT_ONCE}  "
            f"ROUGE-L {fmean(rouge[kind]):.3f}\n"
        )
    shares = disk[smaller] / disk["as it is"], found[smaller]["bytes"] / found["as it is"]["bytes"]
    differences = [new - old for old, new in zip(rouge["as it is"], rouge[smaller], strict=True)]
    interval = await BettingIntervals().of_mean(differences, confidence=0.95, bounded=True)
    same = fmean(one == other for one, other in zip(found["as it is"]["texts"], found[smaller]["texts"], strict=True))
    say(f"disk {shares[0]:.3f}, memory {shares[1]:.3f} of it; {same:.0%} of the answers are the same texts\n")
    bounds = f"[{interval.low:+.4f}, {interval.high:+.4f}]"
    say(f"difference {fmean(differences):+.4f} {bounds}; above the margin {MARGIN}: {interval.low > MARGIN}\n")
    needed = await BettingIntervals().needed(differences, above=MARGIN, confidence=0.95)
    say(f"so distributed, {needed} questions show it\n")
    kind = "fewer layers" if options.drop_layers else "int8 weights"
    report(f"{kind} on disk", shares[0], "of bfloat16")
    report(f"{kind} in memory", shares[1], "of bfloat16")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=ROOT / ".tidemill" / "models" / "smollm2")
    parser.add_argument("--adapter", type=Path, help="an adapter on it, which is merged into both")
    parser.add_argument("--questions", type=int, default=64)
    parser.add_argument("--drop-layers", type=int, default=0, help="how many layers to remove, in place of int8")
    parser.add_argument("--serve", type=Path)
    asyncio.run(main(parser.parse_args()))
