"""How generated answers are rewarded: functions as TRL takes them, one for each reward of the recipe."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from peft import PeftModel

from tidemill_core.rouge import rouge_l
from tidemill_trainer.learning.failures import TrainingStopped
from tidemill_trainer.learning.job import Job
from tidemill_trainer.learning.judge_reward import JudgedReward
from tidemill_trainer.learning.loading import load_config, load_model, load_tokenizer, scoring_config
from tidemill_trainer.learning.reports import Reports, Unreported
from tidemill_trainer.training.domain.rewards import LengthBounds, Reward, check_names, compiled, read_json

CITATION = r"\[[1-9][0-9]{0,2}\]"
_ANSWER = "answer"
Check = Callable[[str, str], float]
"""Of an answer, and that of the example."""
RewardFunction = Callable[..., list[Any]]
"""Returns a number for each answer; a judge, None for one that it has not judged."""


@dataclass(frozen=True, slots=True)
class CheckReward:
    """A programmed check."""

    check: Check
    __name__: str

    def __call__(self, completions: Sequence[str], reference: Sequence[str], **_: object) -> list[float]:
        """Return a number for each answer."""
        return [self.check(answer, to) for answer, to in zip(completions, reference, strict=True)]


class ModelReward:
    """A reward model of the same tokenizer."""

    def __init__(self, model: Any, *, name: str, ending: Sequence[int], ends: Sequence[int], batch_size: int) -> None:  # noqa: ANN401 - of peft
        """Take what a chat template puts after an answer (`ending`), and the tokens by which a model ends one."""
        self.__name__ = name
        self._model, self._ending, self._ends, self._batch_size = model, ending, frozenset(ends), batch_size

    def __call__(
        self, prompts: Sequence[Sequence[int]], completion_ids: Sequence[Sequence[int]], **_: object
    ) -> list[float]:
        """Return the score of each answer.

        Raises:
            TrainingStopped: DIVERGED, where one is not finite.

        """
        texts = [
            [*prompt, *self._without_end(answer), *self._ending]
            for prompt, answer in zip(prompts, completion_ids, strict=True)
        ]
        scores: list[float] = []
        for begin in range(0, len(texts), self._batch_size):
            scores += self._scores(texts[begin : begin + self._batch_size])
        if not all(map(math.isfinite, scores)):
            message = f"a score of the reward model {self.__name__} is not a finite number: train it anew"
            raise TrainingStopped(message, reason="DIVERGED")
        return scores

    def _without_end(self, answer: Sequence[int]) -> Sequence[int]:
        return answer[:-1] if answer and answer[-1] in self._ends else answer

    def _scores(self, texts: Sequence[Sequence[int]]) -> list[float]:
        longest, pad = max(map(len, texts)), self._model.config.get_text_config().pad_token_id
        device = next(self._model.parameters()).device
        tokens = torch.tensor([[*text, *[pad] * (longest - len(text))] for text in texts], device=device)
        mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts], device=device)
        with torch.no_grad(), torch.autocast(device.type, dtype=self._model.dtype, enabled=self._is_half):
            logits = self._model(input_ids=tokens, attention_mask=mask, use_cache=False).logits
        return [float(score) for score in logits.squeeze(-1)]

    @property
    def _is_half(self) -> bool:
        return bool(self._model.dtype is torch.bfloat16)


def reward_functions(
    job: Job,
    tokenizer: Any,  # noqa: ANN401 - of transformers
    reports: Reports | Unreported,
    *,
    device: str,
    dtype: torch.dtype,
) -> list[RewardFunction]:
    """Return the rewards of a job; its reward models are loaded, and its judge is asked by way of `reports`.

    Raises:
        TrainingStopped: BAD_RECIPE, where a JSON Schema is none; BASE_NOT_TRAINABLE, of a reward model.

    """
    found: list[RewardFunction] = []
    for reward, name in zip(job.rewards, check_names(job.rewards), strict=True):
        if reward.reward_model:
            found.append(_model_reward(job, reward, tokenizer, device=device, dtype=dtype))
        elif reward.judge:
            found.append(JudgedReward(reports, name=name))
        else:
            found.append(CheckReward(_check(reward), name))
    return found


def _check(reward: Reward) -> Check:
    if reward.rouge_l:
        return lambda answer, reference: rouge_l(reference, answer)
    if reward.length:
        bounds: LengthBounds = reward.length
        return lambda answer, _: float(bounds.min_characters <= len(answer) <= (bounds.max_characters or len(answer)))
    if reward.json_schema:
        return _schema_check(reward.json_schema)
    pattern = compiled(CITATION if reward.citation else reward.pattern)
    return lambda answer, _: float(pattern.search(answer) is not None)


def _schema_check(text: str) -> Check:
    schema = json.loads(text)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        message = f"a json_schema of the rewards is no JSON Schema at {error.json_path[:200]}"
        raise TrainingStopped(message, reason="BAD_RECIPE") from error
    validator: Any = Draft202012Validator(schema)

    def check(answer: str, _: str) -> float:
        try:
            return float(validator.is_valid(read_json(answer)))
        except (ValueError, ArithmeticError, RecursionError):
            return 0.0

    return check


def _model_reward(job: Job, reward: Reward, tokenizer: Any, *, device: str, dtype: torch.dtype) -> ModelReward:  # noqa: ANN401 - ditto
    name, files = reward.reward_model, job.reward_models[reward.reward_model]
    base = Path(files.base)
    own = load_tokenizer(base, name=name)
    config = scoring_config(load_config(base, name=name), own, base=name)
    model = load_model(base, config, dtype, name=name, scores=True)
    model = PeftModel.from_pretrained(model, files.adapter, is_trainable=False).to(device).eval()
    ending = _ending(tokenizer)
    ends = [tokenizer.eos_token_id, tokenizer.pad_token_id, *ending[:1]]
    batch_size = int(job.args["per_device_train_batch_size"])
    return ModelReward(model, name=name, ending=ending, ends=ends, batch_size=batch_size)


def _ending(tokenizer: Any) -> Sequence[int]:  # noqa: ANN401 - ditto
    """Return the tokens that the chat template has after an answer, as in the pairs of a reward model."""
    turns = [{"role": "user", "content": "question"}, {"role": "assistant", "content": _ANSWER}]
    after: str = tokenizer.apply_chat_template(turns, tokenize=False).rpartition(_ANSWER)[2]
    ids: list[int] = tokenizer(after, add_special_tokens=False)["input_ids"]
    return ids
