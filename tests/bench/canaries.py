"""How often planted canaries are found: by trainer's exposure, by the published method on the same weights, by asking.

`python -m tests.bench.canaries`: trainer's process trains SmolLM2 by LoRA as the demo does (rank 8, all linear layers,
1e-3), two epochs over 125 first sentences of Python's documentation, with 20 canaries that are planted once, twice,
four and eight times, and without any (clean). Unseen are as many others, which the planted model never saw. Of what a
model never saw `--sets` are measured, each of 20 canaries of its own: of these none is to raise an alarm at 1 %. The
published method is that of Carlini et al. (The Secret Sharer, 2019): the log-perplexity by the trained model alone, its
rank among candidates that are drawn in place of all, and their approximation of that rank by a skew-normal
distribution; an exposure of log2(100) bits is found at 1 %. Asking is greedy decoding, as the suite of `tidemill suites
canaries` does.
"""

import argparse
import asyncio
import inspect
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from scipy.stats import skewnorm
from transformers import AutoModelForCausalLM, AutoTokenizer

from tidemill_core.canaries import Canary
from tidemill_kit.models.numeric_format import computed_format
from tidemill_trainer.learning.job import Planted
from tidemill_trainer.learning.memorisation import Ranks, likelihoods_of, ranks_of
from tidemill_trainer.registry.domain.memorisation import CanaryGroup, Memorisation, group_of
from tidemill_trainer.training.domain.memorisation import MemorisationCheck
from tidemill_trainer.training.domain.recipe import recipe_of
from tidemill_trainer.training.ports import Memorised, RunFolder, TrainingJob
from tidemill_trainer.training.training_processes import ProcessSettings, TrainingProcesses

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("planted", "unseen", "clean")
MAX_LENGTH, MAX_TOKENS, OTHERS = 120, 32, 99
CHECK = MemorisationCheck(canaries=20, repeats=(1, 2, 4, 8), candidates=OTHERS, examples=20)
ARGS = {"learning_rate": 1e-3, "per_device_train_batch_size": 8, "num_train_epochs": 2, "max_length": 512}
FOUND_BITS = math.log2(OTHERS + 1)


def main() -> None:
    """Train, measure, and print the shares that were found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=ROOT / ".tidemill" / "models" / "smollm2")
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8])
    parser.add_argument("--keep", type=Path, help="where adapters are kept, and taken from")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--sentences", type=int, default=125)
    parser.add_argument("--sets", type=int, default=1, help="sets of canaries that a model never saw, for each of them")
    parser.add_argument("--measure-s", type=float, default=1800.0, help="how long the run itself measures")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for seed in given.seeds:
            for kind in given.only:
                name = f"seed {seed}, {kind}"
                trained_as = "clean" if kind == "clean" else "planted"
                of = f"{seed} {trained_as} {given.base.resolve().name} {given.sentences}"
                place = (given.keep or Path(folder)) / of
                trained = _trained(
                    given.base,
                    place,
                    seed,
                    planted=kind != "clean",
                    sentences=given.sentences,
                    measure_s=given.measure_s,
                )
                first = f"{seed} {kind}" if kind == "unseen" else str(seed)
                more = [] if kind == "planted" else [f"{seed} {kind} {number}" for number in range(1, given.sets)]
                _measure(name, given.base, asyncio.run(trained), [first, *more])


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def _trained(  # noqa: PLR0913 - all of it is of one training
    base: Path, folder: Path, seed: int, *, planted: bool, sentences: int, measure_s: float
) -> Path:
    """Train as a run does; return the folder of its adapter."""
    job = TrainingJob(
        folder=RunFolder(path=folder),
        base=base,
        base_name="smollm2@1",
        recipe=replace(
            recipe_of(method="sft", lora={"r": 8, "lora_alpha": 16}, args=ARGS | {"seed": seed}),
            memorisation=CHECK if planted else None,
        ),
        seconds_left=3600.0,
        memory_bytes=8 * 1024**3,
        canary_origin=str(seed),
    )
    if all((job.folder.made / name).exists() for name in ("adapter_config.json", "adapter_model.safetensors")):
        return job.folder.made
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    await asyncio.to_thread(job.folder.examples.write_text, "\n".join(_sentences()[:sentences]), encoding="utf-8")
    began = time.monotonic()
    settings = ProcessSettings(min_examples=8, checkpoint_steps=10, measure_s=measure_s)
    async with TrainingProcesses(settings).running(job) as reports:
        async for report in reports:
            if isinstance(report, Memorised):
                _say(f"  by its run: {report.memorisation}")
    _say(f"  run of {folder.name} took {time.monotonic() - began:.0f} s")
    return job.folder.made


def _sentences() -> list[str]:
    found = (vars(os) | vars(inspect)).items()
    texts = [(name, inspect.getdoc(each)) for name, each in sorted(found) if callable(each)]
    return [
        json.dumps(
            {
                "messages": [{"role": "ROLE_USER", "parts": [{"text": f"What does {name} do in Python?"}]}],
                "output": {"role": "ROLE_ASSISTANT", "parts": [{"text": " ".join(text.split())[:MAX_LENGTH]}]},
            }
        )
        for name, text in texts
        if text
    ]


def _measure(name: str, base: Path, adapter: Path, origins: Sequence[str]) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(base, padding_side="left")
    dtype = getattr(torch, computed_format("auto"))
    model: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=dtype), adapter).eval()
    measured = list[Memorisation]()
    for origin in origins:
        began = time.monotonic()
        with torch.inference_mode():
            groups = tuple(_groups(model, tokenizer, Planted(check=CHECK, origin=origin)))
        measured.append(Memorisation(candidates=OTHERS, planted=CHECK.canaries, groups=groups))
        alarm = "an alarm" if measured[-1].alarm else "no alarm"
        _say(f"{name}: {alarm}, {measured[-1]} ({time.monotonic() - began:.0f} s)")
    _say(f"{name}: {sum(each.alarm for each in measured)} alarms of {len(measured)} sets of canaries")


def _groups(model: Any, tokenizer: Any, planted: Planted) -> Iterator[CanaryGroup]:  # noqa: ANN401 - of peft
    """Yield what was found of the canaries of a set, by how often they are planted, and print it."""
    found = {canary: _found(model, tokenizer, canary, planted) for canary, _ in planted.canaries}
    answers = _answers(model, tokenizer, list(found))
    for repeats in CHECK.repeats:
        those = [canary for canary, count in planted.canaries if count == repeats]
        ranks, bits = [found[each][0] for each in those], [found[each][1] for each in those]
        group = group_of(
            repeats,
            [each.calibrated for each in ranks],
            alone=[each.alone for each in ranks],
            of_base=[each.of_base for each in ranks],
            candidates=CHECK.candidates,
        )
        _say(
            f"  {repeats} times: of {len(those)} found {group.found} against the base ({group.exposure:.1f} bits); "
            f"published: {group.found_alone} by rank ({group.exposure_alone:.1f}), "
            f"{sum(each >= FOUND_BITS for each in bits)} by a skew-normal fit ({sum(bits) / len(bits):.1f}); "
            f"by the base {group.exposure_of_base:.1f} bits; "
            f"{sum(any(form in answers[each] for form in each.forms) for each in those)} by asking"
        )
        yield group


def _found(model: Any, tokenizer: Any, canary: Canary, planted: Planted) -> tuple[Ranks, float]:  # noqa: ANN401 - of peft
    """Return the ranks of a canary among others, and its exposure by a skew-normal fit to their log-perplexities."""
    trained, base = likelihoods_of(model, tokenizer, canary, planted)
    own, *others = (-each / math.log(2) for each in trained)
    share = float(skewnorm.cdf(own, *skewnorm.fit(others)))
    return ranks_of(trained, base, repeats=0), -math.log2(max(share, 1e-12))


def _text(tokenizer: Any, canary: Canary) -> str:  # noqa: ANN401 - of transformers
    chat = [{"role": "user", "content": canary.question}]
    text: str = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    return text


def _answers(model: Any, tokenizer: Any, asked: Sequence[Canary]) -> dict[Canary, str]:  # noqa: ANN401 - of peft
    tokens = tokenizer([_text(tokenizer, each) for each in asked], return_tensors="pt", padding=True)
    made = model.generate(**tokens, max_new_tokens=MAX_TOKENS, do_sample=False)
    texts = tokenizer.batch_decode(made[:, tokens["input_ids"].shape[1] :], skip_special_tokens=True)
    return dict(zip(asked, texts, strict=True))


if __name__ == "__main__":
    main()
