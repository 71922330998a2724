"""Compares what the methods learn from the same corrections: who wins against the base on held-out questions.

Questions about Python's documentation are answered by the base from the right passage. The first sentence of the
documentation is what users correct an answer to. SFT learns the corrections, DPO and ORPO prefer them to the answers
that they replace, KTO learns them as good and those as bad; all as trainer's process trains, with the same steps. A
candidate wins a held-out question where its answer has the higher ROUGE-L to the reference than the base's; a tie
counts half. The interval is Wilson's at 95 %, of whole wins.

`python -m tests.bench.preferences`, about ten minutes with SmolLM2; `--base FOLDER` takes another base.
"""

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from peft import PeftModel
from scipy.stats import binomtest
from transformers import AutoModelForCausalLM, AutoTokenizer

from tidemill_core.rouge import rouge_l
from tidemill_kit.models.numeric_format import computed_format
from tidemill_trainer.training.domain.recipe import recipe_of
from tidemill_trainer.training.ports import RunFolder, Stepped, TrainingJob
from tidemill_trainer.training.training_processes import ProcessSettings, TrainingProcesses

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "You answer questions about Python in one or two short sentences. Use only the passages that you are given."
PASSAGE_CHARACTERS = 700
ANSWER_TOKENS = 48
BATCH = 8
COMMON = {"per_device_train_batch_size": 4, "seed": 7}
RECIPES: dict[str, dict[str, Any]] = {
    "sft": {"method": "sft", "args": COMMON | {"learning_rate": 1e-3}},
    "dpo": {"method": "dpo", "args": COMMON | {"learning_rate": 2e-4}},
    "dpo and sft": {"method": "dpo", "args": COMMON | {"learning_rate": 5e-4, "loss_type": ["sigmoid", "sft"]}},
    "orpo": {"method": "orpo", "args": COMMON | {"learning_rate": 5e-4}},
    "kto": {"method": "kto", "args": COMMON | {"learning_rate": 1e-3, "undesirable_weight": 0.2}},
}


@dataclass(frozen=True, slots=True)
class Question:
    """A question as the model sees it, and its right answer."""

    asked: str
    reference: str

    @property
    def messages(self) -> list[dict[str, str]]:
        """The prompt."""
        return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": self.asked}]

    def example(self, number: int, rejected: str) -> dict[str, Any]:
        """Return the preference as a line of a batch."""
        said = [
            {"role": f"ROLE_{each['role'].upper()}", "parts": [{"text": each["content"]}]} for each in self.messages
        ]
        answers = {
            name: {"role": "ROLE_ASSISTANT", "parts": [{"text": text}]}
            for name, text in (("output", self.reference), ("rejected", rejected))
        }
        return {"id": str(number), "messages": said, **answers}


def questions(count: int) -> list[Question]:
    """Return questions evenly spread over the corpus of the example."""
    corpus = ROOT / "examples" / "helpdesk" / "corpus.py"
    printed = subprocess.run([sys.executable, str(corpus)], capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own script
    library = [each for each in json.loads(printed)["documents"] if each["area"] != "reference"]
    found = []
    for index in range(count):
        document = library[int(index * len(library) / count)]
        paragraph = document["text"].partition("\n\n")[2].partition("\n\n")[0]
        reference = " ".join(paragraph.split()).partition(". ")[0].rstrip(".:") + "."
        passage = document["text"][:PASSAGE_CHARACTERS]
        found.append(Question(f"[1] {passage}\n\nQuestion: What does {document['title']} do in Python?", reference))
    return found


def answers(model: Any, tokenizer: Any, asked: Sequence[Question], *, name: str) -> list[str]:  # noqa: ANN401 - of transformers
    """Return the greedy answers."""
    found: list[str] = []
    for start in range(0, len(asked), BATCH):
        some = asked[start : start + BATCH]
        prompts = [
            tokenizer.apply_chat_template(each.messages, tokenize=False, add_generation_prompt=True) for each in some
        ]
        given = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.inference_mode():
            made = model.generate(**given, max_new_tokens=ANSWER_TOKENS, do_sample=False)
        found += tokenizer.batch_decode(made[:, given["input_ids"].shape[1] :], skip_special_tokens=True)
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{name}: {len(found)} of {len(asked)} answers")
    return [each.strip() for each in found]


def prepared(folder: Path, lines: Sequence[dict[str, Any]], *, method: str) -> RunFolder:
    """Return a folder with these lines, as examples of the kind that the method learns from."""
    folder.mkdir()
    run = RunFolder(path=folder)
    kind = "EXAMPLE_KIND_DEMONSTRATION" if method == "sft" else "EXAMPLE_KIND_PREFERENCE"
    run.examples.write_text("".join(json.dumps(line | {"kind": kind}) + "\n" for line in lines), encoding="utf-8")
    return run


async def trained(base: Path, run: RunFolder, how: dict[str, Any], *, steps: int) -> float:
    """Train an adapter into the folder as a run does; return the seconds from the first step to the last."""
    args = how["args"] | {"max_steps": steps}
    job = TrainingJob(
        folder=run,
        base=base,
        base_name="base@1",
        recipe=recipe_of(method=how["method"], lora={"r": 8, "lora_alpha": 16}, args=args),
        seconds_left=3600,
        memory_bytes=2**33,
        memory_auto=True,
    )
    async with TrainingProcesses(ProcessSettings(min_examples=4, checkpoint_steps=1000)).running(job) as reports:
        times = [time.perf_counter() async for report in reports if isinstance(report, Stepped)]
    return times[-1] - times[0]


def scores(references: Sequence[Question], texts: Sequence[str]) -> list[float]:
    """Return ROUGE-L of each answer."""
    return [rouge_l(each.reference, text) for each, text in zip(references, texts, strict=True)]


async def main(options: argparse.Namespace) -> None:
    """Print a line for the base and for each recipe."""
    dtype = getattr(torch, computed_format("auto"))
    tokenizer = AutoTokenizer.from_pretrained(options.base, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(options.base, dtype=dtype)
    asked = questions(options.train + options.held_out)
    random.Random(7).shuffle(asked)  # noqa: S311 - no secret: which questions are held out
    learnt, held_out = asked[: options.train], asked[options.train :]
    rejected = answers(model, tokenizer, learnt, name="base, to learn from")
    before = scores(held_out, answers(model, tokenizer, held_out, name="base, held out"))
    lines = [each.example(number, text) for number, (each, text) in enumerate(zip(learnt, rejected, strict=True))]
    said = sys.stdout.write
    said(f"{len(lines)} corrections, {len(held_out)} held-out questions, {computed_format('auto')}\n")
    said(f"{'base':12}  ROUGE-L {fmean(before):.3f}\n")
    with tempfile.TemporaryDirectory() as name:
        for recipe in options.only or RECIPES:
            run = prepared(Path(name, recipe.replace(" ", "_")), lines, method=RECIPES[recipe]["method"])
            seconds = await trained(options.base, run, RECIPES[recipe], steps=options.steps)
            adapted = PeftModel.from_pretrained(model, str(run.made))
            after = scores(held_out, answers(adapted, tokenizer, held_out, name=recipe))
            model = adapted.unload()
            won = sum((new > old) + (new == old) / 2 for new, old in zip(after, before, strict=True))
            low, high = binomtest(int(won), len(held_out)).proportion_ci(method="wilson")
            rate = f"wins {won / len(held_out):.2f} [{low:.2f}, {high:.2f}]"
            said(f"{recipe:12}  ROUGE-L {fmean(after):.3f}  {rate}  {seconds:.0f} s\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=ROOT / ".tidemill" / "models" / "smollm2")
    parser.add_argument("--train", type=int, default=96)
    parser.add_argument("--held-out", type=int, default=64)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--only", action="append", choices=RECIPES)
    asyncio.run(main(parser.parse_args()))
