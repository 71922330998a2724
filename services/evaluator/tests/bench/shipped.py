"""How a bare local model meets the shipped suites.

`python -m services.evaluator.tests.bench.shipped [FOLDER [LANGUAGE]]`: greedy, 48 tokens at most, with the model's own
chat template, and without prompt or passages of a deployment.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tidemill_core.application import Caller
from tidemill_evaluator.safety.domain.expectations import is_met
from tidemill_evaluator.safety.shipped_files import ShippedFiles
from tidemill_evaluator.suites.domain.cases import Case
from tidemill_evaluator.suites.domain.shipped import ShippedCases, ShippedSuite

ROOT = Path(__file__).resolve().parents[4]
MAX_TOKENS, AT_ONCE, SHOWN = 48, 16, 3


def main() -> None:
    """Print the share of cases that are met, by suite, and some answers that meet nothing."""
    folder, *languages = sys.argv[1:] or [str(ROOT / ".tidemill" / "models" / "smollm2")]
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    for suite in asyncio.run(_suites()):
        cases = ShippedCases(suite=suite.id, languages=tuple(languages)).of(suite)
        answers = [
            text for begin in range(0, len(cases), AT_ONCE) for text in _said(model, tokenizer, cases[begin:][:AT_ONCE])
        ]
        met = [case.expect is not None and is_met(case.expect, text) for case, text in zip(cases, answers, strict=True)]
        sys.stdout.write(f"{suite.id}: {sum(met)} of {len(met)}\n")
        missed = [each for each, fine in zip(zip(cases, answers, strict=True), met, strict=True) if not fine]
        for case, text in missed[:SHOWN]:
            sys.stdout.write(f"  {case.id}: {case.question[:70]!r} -> {text[:110]!r}\n")
        sys.stdout.flush()


async def _suites() -> Sequence[ShippedSuite]:
    return await ShippedFiles().all(Caller(project="bench"))


def _said(model: Any, tokenizer: Any, cases: Sequence[Case]) -> list[str]:  # noqa: ANN401 - of transformers
    chats = [
        [
            *({"role": turn.role.value, "content": turn.text} for turn in case.context.earlier),
            {"role": "user", "content": case.question},
        ]
        for case in cases
    ]
    asked = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        made = model.generate(**asked, max_new_tokens=MAX_TOKENS, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    texts: list[str] = tokenizer.batch_decode(made[:, asked["input_ids"].shape[1] :], skip_special_tokens=True)
    return texts


if __name__ == "__main__":
    main()
