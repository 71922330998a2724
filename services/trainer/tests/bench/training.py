"""Benchmark: training speed of a run against a bare TRL script with the same recipe and rows.

`python -m services.trainer.tests.bench.training [folder of a base] [steps] [method] [full]`; without a folder a tiny
base is created, which measures overheads only. `full` trains all weights; `distill` takes the base for its teacher,
too. Both train in separate processes, one after the other, then in the reverse order to average out noise. From the
first step to the last, for the same rows, the seconds and the processor time of the process are compared: where other
work runs beside it, the latter says more. dpo and kto of all weights ask the base about all rows before the first step,
in both.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from services.trainer.tests.learning.tiny import example_lines, write_base
from tidemill_trainer.training.domain.recipe import Recipe, recipe_of
from tidemill_trainer.training.domain.rewards import Reward
from tidemill_trainer.training.ports import Fitted, ModelFolders, RunFolder, Stepped, TrainingJob
from tidemill_trainer.training.training_processes import ProcessSettings, TrainingProcesses

MIN_STEPS = 3
PREFERENCES = ("dpo", "orpo", "kto", "reward")
PATTERN = "[a-z]"
ARGS = {
    "grpo": {"num_generations": 4, "max_completion_length": 32},
}
"""Of methods whose defaults take minutes a step."""
BARE = """
import json, re, sys, time
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from transformers import TrainerCallback, set_seed

from tidemill_kit.models.numeric_format import computed_format

job = json.loads(sys.argv[1])
method, lora = job["method"], job["lora"]

def messages(given):
    return [{"role": m["role"][5:].lower(), "content": m["parts"][0]["text"]} for m in given]

class Times(TrainerCallback):
    seen = []
    def on_step_end(self, args, state, control, **kwargs):
        self.seen.append((time.perf_counter(), time.process_time()))

examples = [json.loads(line) for line in open(job["examples"])]
prompts = [messages(e["messages"]) for e in examples]
good = [messages([e["output"]]) for e in examples]
bad = [messages([e["rejected"]]) for e in examples if "rejected" in e]
more, given = {}, {}
args = {name: value for name, value in job["args"].items() if value != []}
if method == "sft":
    from trl import SFTConfig as config, SFTTrainer as trainer
    rows = [{"prompt": p, "completion": g} for p, g in zip(prompts, good)]
elif method == "dpo":
    from trl import DPOConfig as config, DPOTrainer as trainer
elif method == "orpo":
    from trl.experimental.orpo import ORPOConfig as config, ORPOTrainer as trainer
elif method == "reward":
    from trl import RewardConfig as config, RewardTrainer as trainer
    more["num_labels"] = 1
elif method == "kto":
    from trl import KTOConfig as config, KTOTrainer as trainer
    rows = [{"prompt": p, "completion": a, "label": label}
            for p, *both in zip(prompts, good, bad) for a, label in zip(both, (True, False))]
elif method == "grpo":
    from trl import GRPOConfig as config, GRPOTrainer as trainer
    rows = [{"prompt": p} for p in prompts]
    del args["max_length"]
    given["reward_funcs"] = lambda completions, **_: [
        float(re.search(job["pattern"], each[0]["content"]) is not None) for each in completions
    ]
elif method == "distill":
    from trl.experimental.gkd import GKDConfig as config, GKDTrainer as trainer
    rows = [{"messages": p + g} for p, g in zip(prompts, good)]
if method in ("dpo", "orpo", "reward"):
    rows = [{"prompt": p, "chosen": g, "rejected": b} for p, g, b in zip(prompts, good, bad)]
if method in ("dpo", "kto") and not lora:
    args["precompute_ref_log_probs"] = True
half = computed_format("auto") == "bfloat16"
dtype = torch.bfloat16 if half and lora else torch.float32
model = AutoModelForSequenceClassification if method == "reward" else AutoModelForCausalLM
if method == "distill":
    given["teacher_model"] = model.from_pretrained(job["base"], dtype=dtype)
set_seed(args["seed"])
trainer = trainer(
    model=model.from_pretrained(job["base"], dtype=dtype, **more),
    args=config(
        output_dir=job["output"], use_cpu=True, bf16=half, dataloader_pin_memory=False, report_to="none",
        save_strategy="no", disable_tqdm=True, **args,
    ),
    train_dataset=Dataset.from_list(rows),
    processing_class=AutoTokenizer.from_pretrained(job["base"]),
    peft_config=LoraConfig(**lora) if lora else None,
    callbacks=[Times()],
    **given,
)
trainer.train()
tokens = max(entry.get("num_tokens", 0) for entry in trainer.state.log_history)
first, last = Times.seen[0], Times.seen[-1]
figures = {"seconds": last[0] - first[0], "processor": last[1] - first[1], "tokens": tokens}
print("FIGURES", json.dumps(figures))
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """What the steps after the first one took."""

    seconds: float
    processor: float
    tokens: float = 0.0
    """Of all steps, as TRL counts them."""


def bare(base: Path, examples: Path, recipe: Recipe, folder: Path) -> Taken:
    """Train by the bare script."""
    reported = {
        "base": str(base),
        "examples": str(examples),
        "output": str(folder / "bare"),
        "lora": dict(recipe.lora),
        "args": dict(recipe.args),
        "method": recipe.method,
        "pattern": PATTERN,
    }
    command = [sys.executable, "-c", BARE, json.dumps(reported)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own interpreter
    return Taken(**json.loads(answer.stdout.split("FIGURES")[1]))


async def ours(base: Path, recipe: Recipe, folder: RunFolder) -> Taken:
    """Train by a run, as it is reported to its worker."""
    job = TrainingJob(
        folder=folder,
        base=base,
        base_name="base@1",
        recipe=recipe,
        seconds_left=24 * 3600.0,
        memory_bytes=2**40,
        teacher=ModelFolders(base=base) if recipe.teacher else None,
    )
    settings = ProcessSettings(min_examples=1, checkpoint_steps=10_000, device="cpu")
    async with TrainingProcesses(settings).running(job) as reports:
        seen, peak = list[tuple[float, float]](), 0
        async for report in reports:
            if isinstance(report, Fitted):
                sys.stdout.write(f"estimated: {report.fit.needed_bytes / 1e6:.0f} MB\n")
            elif isinstance(report, Stepped):
                seen.append((time.perf_counter(), processor_time()))
                peak = max(peak, report.peak_memory_bytes)
    sys.stdout.write(f"seen: {peak / 1e6:.0f} MB\n")
    first, last = seen[0], seen[-1]
    return Taken(last[0] - first[0], last[1] - first[1])


def processor_time() -> float:
    """Return the seconds that the training process has computed."""
    (child,) = psutil.Process().children()
    times = child.cpu_times()
    return float(times.user + times.system)


def measure(base: Path, folder: Path, *, steps: int, words: int, how: str) -> None:
    """Print the figures of a method, or of `METHOD full`."""
    method, _, full = how.partition(" ")
    recipe = recipe_of(
        method=method,
        lora={},
        use_peft=not full,
        args={
            "max_steps": steps,
            "per_device_train_batch_size": 4,
            "learning_rate": 1e-5 if full else 1e-3,
            "seed": 7,
            **ARGS.get(method, {}),
        },
        rewards=[Reward(pattern=PATTERN)] if method == "grpo" else [],
        teacher="base@1" if method == "distill" else "",
    )
    examples = folder / "train.jsonl"
    examples.write_bytes(example_lines(96, words=words, rejecting=method in PREFERENCES))
    taken: dict[str, list[Taken]] = {"bare": [], "ours": []}
    for turn, names in enumerate((("bare", "ours"), ("ours", "bare"))):
        for name in names:
            if name == "bare":
                taken[name].append(bare(base, examples, recipe, folder))
            else:
                run = RunFolder(path=folder / f"run{turn}")
                run.path.mkdir()
                run.examples.write_bytes(examples.read_bytes())
                taken[name].append(asyncio.run(ours(base, recipe, run)))
            last = taken[name][-1]
            sys.stdout.write(
                f"{name}: {last.seconds:.2f} s from the first step to the last, {last.processor:.2f} of the processor\n"
            )
            sys.stdout.flush()
    tokens = taken["bare"][0].tokens * (steps - 1) / steps  # TRL counts none where it distills
    each = sum(one.seconds for one in taken["ours"]) / 2
    sys.stdout.write(f"a run: {tokens / each:.0f} tokens/s\n" if tokens else "")
    clock, processor = (
        sum(getattr(one, kind) for one in taken["bare"]) / sum(getattr(one, kind) for one in taken["ours"])
        for kind in ("seconds", "processor")
    )
    sys.stdout.write(
        f"{method}{' of all weights' if full else ''}, a run against the bare script (goal: at least 0.98): tokens a "
        f"second {clock:.3f}, tokens a second of processor time {processor:.3f}\n"
    )


def main() -> None:
    """Measure once."""
    given = sys.argv[1:]
    steps = max(MIN_STEPS, int(given[1])) if len(given) > 1 else 12
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as name:
        folder = Path(name)
        base = Path(given[0]) if given else write_base(folder / "base", context=4096)
        measure(base, folder, steps=steps, words=300 if given else 40, how=" ".join(given[2:4]) or "sft")


if __name__ == "__main__":
    main()
