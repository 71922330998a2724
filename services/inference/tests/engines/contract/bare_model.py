"""The model itself, as transformers and peft run it: what any engine in float32 has to agree with."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from tidemill_inference.engines.chat_prompts import turns_of
from tidemill_inference.generation.domain.content import Message


class BareModel:
    """A model's folder, with an adapter's where there is one."""

    def __init__(self, folder: Path, adapter: Path | None = None) -> None:
        self.folder = folder
        self.adapter = adapter

    @cached_property
    def tokenizer(self) -> Any:  # noqa: ANN401 - of transformers
        return AutoTokenizer.from_pretrained(self.folder)

    @cached_property
    def _model(self) -> Any:  # noqa: ANN401 - ditto
        model: Any = AutoModelForCausalLM.from_pretrained(self.folder, dtype=torch.float32)
        return PeftModel.from_pretrained(model, str(self.adapter)) if self.adapter else model

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Return the tokens that it goes on from."""
        made = self.tokenizer.apply_chat_template(turns_of(messages), add_generation_prompt=True, return_dict=True)
        return list(made["input_ids"])

    @torch.inference_mode()
    def greedy(
        self,
        messages: Sequence[Message],
        tokens: int,
        *,
        presence: float = 0.0,
        frequency: float = 0.0,
        bias: Mapping[int, float] | None = None,
    ) -> list[int]:
        """Return the likeliest tokens one after the other, by the definitions of OpenAI's API."""
        prompt, said = self.prompt(messages), list[int]()
        for _ in range(tokens):
            scores = self._model(torch.tensor([prompt + said])).logits[0, -1].float()
            for token in set(said):
                scores[token] -= presence + frequency * said.count(token)
            for token, value in (bias or {}).items():
                scores[token] += value
            said.append(int(scores.argmax()))
        return said

    @torch.inference_mode()
    def logprobs(self, messages: Sequence[Message], said: Sequence[int]) -> torch.Tensor:
        """Return the log probabilities of all tokens in each place of an answer, shaped (places, vocabulary)."""
        prompt = self.prompt(messages)
        scores = self._model(torch.tensor([prompt + list(said)])).logits[0, len(prompt) - 1 : -1].float()
        logprobs: torch.Tensor = scores.log_softmax(-1)
        return logprobs

    def text(self, tokens: Sequence[int]) -> str:
        """Return the text of an answer; the beginning of a character at its end is none."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True)).rstrip("\ufffd")
