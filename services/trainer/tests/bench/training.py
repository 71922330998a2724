"""Benchmark: training speed of a run against a bare TRL script with the same recipe and rows.

`python -m services.trainer.tests.bench.training [folder of a base] [steps] [sft, full, reward or distill]`; without a
folder a tiny base is created, which measures overheads only. `full` is `sft` of all weights; `distill` takes the base
for its teacher, too. Both train in separate processes, one after the other, then in the reverse order to average out
noise; the time between the first and the last step is compared for the same number of tokens.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from services.trainer.tests.learning.tiny import example_lines, write_base
from tidemill_trainer.training.domain.recipe import Recipe, recipe_of
from tidemill_trainer.training.ports import Fitted, ModelFolders, RunFolder, Stepped, TrainingJob
from tidemill_trainer.training.training_processes import ProcessSettings, TrainingProcesses

MIN_STEPS = 3
BARE = """
import json, sys, time
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from transformers import TrainerCallback, set_seed
from trl import RewardConfig, RewardTrainer, SFTConfig, SFTTrainer
from trl.experimental.gkd import GKDConfig, GKDTrainer

from tidemill_kit.models.numeric_format import computed_format

job = json.loads(sys.argv[1])

def messages(given):
    return [{"role": m["role"][5:].lower(), "content": m["parts"][0]["text"]} for m in given]

class Times(TrainerCallback):
    seen = []
    def on_step_end(self, args, state, control, **kwargs):
        self.seen.append(time.perf_counter())

examples = [json.loads(line) for line in open(job["examples"])]
scores = job["method"] == "reward"
if scores:
    trainer, config, model = RewardTrainer, RewardConfig, AutoModelForSequenceClassification
    more = {"num_labels": 1}
    answers = {"chosen": "output", "rejected": "rejected"}
else:
    trainer, config, model, more, answers = SFTTrainer, SFTConfig, AutoModelForCausalLM, {}, {"completion": "output"}
rows = [
    {"prompt": messages(e["messages"]), **{name: messages([e[part]]) for name, part in answers.items()}}
    for e in examples
]
half = computed_format("auto") == "bfloat16"
dtype = torch.bfloat16 if half and job["lora"] else torch.float32
given = {}
if job["method"] == "distill":
    trainer, config = GKDTrainer, GKDConfig
    given["teacher_model"] = model.from_pretrained(job["base"], dtype=dtype)
    rows = [{"messages": messages([*e["messages"], e["output"]])} for e in examples]
set_seed(job["args"]["seed"])
trainer = trainer(
    model=model.from_pretrained(job["base"], dtype=dtype, **more),
    args=config(
        output_dir=job["output"], use_cpu=True, bf16=half, dataloader_pin_memory=False, report_to="none",
        save_strategy="no", disable_tqdm=True, **job["args"],
    ),
    train_dataset=Dataset.from_list(rows),
    processing_class=AutoTokenizer.from_pretrained(job["base"]),
    peft_config=LoraConfig(**job["lora"]) if job["lora"] else None,
    **given,
    callbacks=[Times()],
)
trainer.train()
tokens = max(entry.get("num_tokens", 0) for entry in trainer.state.log_history)
print("FIGURES", json.dumps({"seconds": Times.seen[-1] - Times.seen[0], "tokens": tokens}))
"""


def bare(base: Path, examples: Path, recipe: Recipe, folder: Path) -> tuple[float, float]:
    """Return the seconds between first and last step of the bare script, and its number of tokens."""
    reported = {
        "base": str(base),
        "examples": str(examples),
        "output": str(folder / "bare"),
        "lora": dict(recipe.lora),
        "args": dict(recipe.args),
        "method": recipe.method,
    }
    command = [sys.executable, "-c", BARE, json.dumps(reported)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own interpreter
    figures = json.loads(answer.stdout.split("FIGURES")[1])
    return figures["seconds"], figures["tokens"]


async def ours(base: Path, recipe: Recipe, folder: RunFolder) -> float:
    """Return the seconds between first and last step of a run, as reported to its worker."""
    job = TrainingJob(
        folder=folder,
        base=base,
        base_name="base@1",
        recipe=recipe,
        seconds_left=24 * 3600.0,
        memory_bytes=2**40,
        teacher=ModelFolders(base=base) if recipe.teacher else None,
    )
    settings = ProcessSettings(min_examples=1, checkpoint_steps=10, device="cpu")
    async with TrainingProcesses(settings).running(job) as reports:
        seen, peak = list[float](), 0
        async for report in reports:
            if isinstance(report, Fitted):
                sys.stdout.write(f"estimated: {report.fit.needed_bytes / 1e6:.0f} MB\n")
            elif isinstance(report, Stepped):
                seen.append(time.perf_counter())
                peak = max(peak, report.peak_memory_bytes)
    sys.stdout.write(f"seen: {peak / 1e6:.0f} MB\n")
    return seen[-1] - seen[0]


def measure(base: Path, folder: Path, *, steps: int, words: int, method: str) -> None:
    """Print the figures."""
    full = method == "full"
    recipe = recipe_of(
        method="sft" if full else method,
        lora={},
        use_peft=not full,
        args={
            "max_steps": steps,
            "per_device_train_batch_size": 4,
            "learning_rate": 1e-5 if full else 1e-3,
            "seed": 7,
        },
        teacher="base@1" if method == "distill" else "",
    )
    examples = folder / "train.jsonl"
    examples.write_bytes(example_lines(96, words=words, rejecting=method == "reward"))
    seconds: dict[str, list[float]] = {"bare": [], "ours": []}
    tokens = 0.0
    for turn, names in enumerate((("bare", "ours"), ("ours", "bare"))):
        for name in names:
            if name == "bare":
                taken, tokens = bare(base, examples, recipe, folder)
            else:
                run = RunFolder(path=folder / f"run{turn}")
                run.path.mkdir()
                run.examples.write_bytes(examples.read_bytes())
                taken = asyncio.run(ours(base, recipe, run))
            seconds[name].append(taken)
            rate = tokens * (steps - 1) / steps / taken
            counted = f", {rate:.0f} tokens/s" if tokens else ""  # TRL counts none where it distills
            sys.stdout.write(f"{name}: {taken:.2f} s from the first step to the last{counted}\n")
    ratio = sum(seconds["bare"]) / sum(seconds["ours"])
    sys.stdout.write(f"tokens a second of a run, against the bare script: {ratio:.3f} (goal: at least 0.98)\n")


def main() -> None:
    """Measure once."""
    steps = max(MIN_STEPS, int(sys.argv[2])) if len(sys.argv) > 2 else 12
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as name:
        folder = Path(name)
        if len(sys.argv) > 1:
            method = sys.argv[3] if len(sys.argv) > 3 else "sft"
            measure(Path(sys.argv[1]), folder, steps=steps, words=300, method=method)
        else:
            measure(write_base(folder / "base", context=4096), folder, steps=steps, words=40, method="sft")


if __name__ == "__main__":
    main()
