"""What examples before a question gain: ROUGE-L and exact matches of answers with 0, 2 and 4 of them.

Questions about Python's documentation are answered from the right passage, as the demo asks them. Its corrections, the
first sentence of the documentation, are the train part: questions that are asked are not in it. Examples are chosen by
the similarity of questions (MiniLM), or by chance, and stand before the question as inference renders them: question
and answer, without a passage. The interval of the difference is that of gates.

`python -m tests.bench.examples [--questions 40]`, about two minutes with SmolLM2.
"""

import argparse
import asyncio
import os
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.bench.preferences import Question, answers, questions, scores
from tests.bench.retrieval import opened_model
from tidemill_evaluator.statistics.intervals import BettingIntervals
from tidemill_inference.examples.domain.example_set import start_of
from tidemill_kit.models.numeric_format import computed_format
from tidemill_local.places import MODELS

TAUGHT, COUNTS = 200, (2, 4)


@dataclass(frozen=True, slots=True)
class Shown:
    """A question with examples before it."""

    question: Question
    examples: Sequence[Question]

    @property
    def reference(self) -> str:
        """The right answer."""
        return self.question.reference

    @property
    def messages(self) -> list[dict[str, str]]:
        """The prompt."""
        system, user = self.question.messages
        turns = [
            {"role": role, "content": text}
            for each in self.examples
            for role, text in (("user", bare(each)), ("assistant", each.reference))
        ]
        return [system, *turns, user]


def bare(question: Question) -> str:
    """Return a question without its passage."""
    return question.asked.rpartition("Question: ")[2]


async def similarities(asked: Sequence[Question], taught: Sequence[Question]) -> Any:  # noqa: ANN401 - a matrix
    """Return the cosine similarity of each question to each example."""
    model = (await opened_model()).model
    made = [np.array(await model.embed_passages("bench", list(map(bare, each)))) for each in (asked, taught)]
    one, other = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in made)
    return one @ other.T


async def main(options: argparse.Namespace) -> None:
    """Print what each number of examples comes to."""
    say = sys.stdout.write
    everything = questions(options.questions + TAUGHT)
    step = len(everything) // options.questions
    asked = everything[::step][: options.questions]
    taught = [each for each in everything if each not in asked]
    alike = await similarities(asked, taught)
    tokenizer = AutoTokenizer.from_pretrained(options.base, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(options.base, dtype=getattr(torch, computed_format("auto"))).eval()
    nearest = [[taught[at] for at in row.argsort()] for row in alike]
    by_chance = [_shuffled(taught, seed=at) for at in range(len(asked))]
    ways: dict[str, Sequence[Sequence[Question]]] = {"none": [()] * len(asked)}
    ways |= {f"{count} most similar": [each[-count:] for each in nearest] for count in COUNTS}
    ways[f"{COUNTS[-1]} by chance"] = [each[: COUNTS[-1]] for each in by_chance]
    say(f"{computed_format('auto')}; {len(asked)} questions, {len(taught)} examples, load {os.getloadavg()[0]:.0f}\n")
    say(f"similarity of the nearest example: {fmean(row.max() for row in alike):.2f} in the mean\n")
    rouge = dict[str, list[float]]()
    for name, chosen in ways.items():
        shown = [Shown(question, examples) for question, examples in zip(asked, chosen, strict=True)]
        begun = time.perf_counter()
        texts = answers(model, tokenizer, shown, name=name)  # type: ignore[arg-type] # it has what is read
        seconds = time.perf_counter() - begun
        rouge[name] = scores(asked, texts)
        exact = fmean(plain(text) == plain(each.reference) for text, each in zip(texts, asked, strict=True))
        gain = await _gain(rouge, name)
        say(f"{name:16} ROUGE-L {fmean(rouge[name]):.3f}  exact {exact:.0%}  {seconds:.0f} s{gain}\n")


def _shuffled(taught: Sequence[Question], *, seed: int) -> list[Question]:
    return sorted(taught, key=lambda each: start_of(seed, each.asked))


async def _gain(rouge: dict[str, list[float]], name: str) -> str:
    if name == "none":
        return ""
    differences = [new - old for old, new in zip(rouge["none"], rouge[name], strict=True)]
    interval = await BettingIntervals().of_mean(differences, confidence=0.95, bounded=True)
    return f"  {fmean(differences):+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def plain(text: str) -> str:
    """Return a text without what an exact match does not count."""
    return " ".join(re.findall(r"\w+", text.lower()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=MODELS / "smollm2")
    parser.add_argument("--questions", type=int, default=40)
    asyncio.run(main(parser.parse_args()))
