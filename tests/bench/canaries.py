"""How often planted canaries are found: asked for by a suite, beside their exposure.

`python -m tests.bench.canaries [FOLDER]`: LoRA as the demo trains (rank 8, all linear layers, 1e-3), two epochs over
125 first sentences of Python's documentation and canaries that are planted once, twice, four and eight times. Exposure
is by the rank of a canary's log-perplexity among 99 other numbers (Carlini et al., The Secret Sharer, 2019, with random
candidates in place of all): rank 1 is found at 1 %.
"""

import inspect
import math
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from tidemill_client.canaries import Canary, canaries

ROOT = Path(__file__).resolve().parents[2]
REPEATS, OF_EACH, CLEAN = (1, 2, 4, 8), 5, 20
SENTENCES, EPOCHS, BATCH, OTHERS = 125, 2, 8, 99
MAX_TOKENS, MAX_LENGTH = 32, 120
Row = tuple[str, str]


def main() -> None:
    """Train, ask, rank, and print the shares that were found."""
    torch.manual_seed(7)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / ".tidemill" / "models" / "smollm2"
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    planted = canaries(OF_EACH * len(REPEATS) + CLEAN, seed=7)
    times = {
        each: (*(count for count in REPEATS for _ in range(OF_EACH)), *[0] * CLEAN)[n] for n, each in enumerate(planted)
    }
    rows = [*_sentences(), *((each.question, each.answer) for each in planted for _ in range(times[each]))]
    tuned = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    began = time.monotonic()
    _train(tuned, tokenizer, rows * EPOCHS)
    _say(f"trained on {len(rows)} rows twice in {time.monotonic() - began:.0f} s")
    asked = _answers(tuned, tokenizer, planted)
    ranks = {each: _rank(tuned, tokenizer, each) for each in planted}
    for count in (*REPEATS, 0):
        those = [each for each in planted if times[each] == count]
        extracted = sum(each.number in asked[each] for each in those)
        exposed = sum(ranks[each] == 1 for each in those)
        exposure = sum(math.log2(OTHERS + 1) - math.log2(ranks[each]) for each in those) / len(those)
        _say(
            f"planted {count} times: {extracted} of {len(those)} by asking, {exposed} by rank, exposure {exposure:.1f}"
        )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _sentences() -> list[Row]:
    found = (vars(os) | vars(inspect)).items()
    texts = [(name, inspect.getdoc(each)) for name, each in sorted(found) if callable(each)]
    rows = [(f"What does {name} do in Python?", " ".join(text.split())[:MAX_LENGTH]) for name, text in texts if text]
    return rows[:SENTENCES]


def _text(tokenizer: Any, question: str) -> str:  # noqa: ANN401 - of transformers
    chat = [{"role": "user", "content": question}]
    text: str = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    return text


def _train(model: Any, tokenizer: Any, rows: Sequence[Row]) -> None:  # noqa: ANN401 - of peft
    order = random.Random(7).sample(list(rows), len(rows))  # noqa: S311 - an order
    optimizer = torch.optim.AdamW((each for each in model.parameters() if each.requires_grad), lr=1e-3)
    model.train()
    for begin in range(0, len(order), BATCH):
        tokens, labels = _batch(tokenizer, order[begin:][:BATCH])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(**tokens, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


def _batch(tokenizer: Any, rows: Sequence[Row]) -> tuple[Any, torch.Tensor]:  # noqa: ANN401 - of transformers
    prompts = [_text(tokenizer, question) for question, _ in rows]
    texts = [prompt + answer + tokenizer.eos_token for prompt, (_, answer) in zip(prompts, rows, strict=True)]
    tokens = tokenizer(texts, return_tensors="pt", padding=True)
    labels = tokens["input_ids"].masked_fill(tokens["attention_mask"] == 0, -100)
    for row, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
        answer = len(tokenizer(text)["input_ids"]) - len(tokenizer(prompt)["input_ids"])
        labels[row, : labels.shape[1] - answer] = -100
    return tokens, labels


def _answers(model: Any, tokenizer: Any, asked: Sequence[Canary]) -> dict[Canary, str]:  # noqa: ANN401 - of peft
    tokens = tokenizer([_text(tokenizer, each.question) for each in asked], return_tensors="pt", padding=True)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        made = model.generate(**tokens, max_new_tokens=MAX_TOKENS, do_sample=False)
    texts = tokenizer.batch_decode(made[:, tokens["input_ids"].shape[1] :], skip_special_tokens=True)
    return dict(zip(asked, texts, strict=True))


def _rank(model: Any, tokenizer: Any, canary: Canary) -> int:  # noqa: ANN401 - of peft
    """Return the rank of a canary among other numbers, 1 for the most probable."""
    chance = random.Random(canary.person)  # noqa: S311 - reproducible candidates
    numbers = [canary.number, *(f"{chance.randrange(10**6):06d}" for _ in range(OTHERS))]
    rows = [(canary.question, canary.answer.replace(canary.number, number)) for number in numbers]
    tokens, labels = _batch(tokenizer, rows)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(**tokens).logits[:, :-1].float()
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels[:, 1:], reduction="none").sum(dim=1)
    return 1 + int((losses[1:] <= losses[0]).sum())


if __name__ == "__main__":
    main()
