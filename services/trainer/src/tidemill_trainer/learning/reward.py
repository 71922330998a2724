"""Training of reward models, and how often they prefer the answer that people preferred."""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from datasets import Dataset  # type: ignore[import-untyped] # it ships no types
from torch.utils.data import DataLoader
from trl.trainer.reward_trainer import RewardTrainer

from tidemill_trainer.learning.examples import PREFERENCE, AnyRow, read_examples, rows_of
from tidemill_trainer.learning.failures import TrainingStopped

MAX_MEASURED = 1000
"""Pairs that are measured: more make the interval little narrower, and the last step has no time limit after it."""


class PairTrainer(RewardTrainer):
    """RewardTrainer on pairs that are tokens already."""

    def _prepare_dataset(self, dataset: Dataset, *_: object) -> Dataset:
        """Return both sequences of each pair whole, as TRL's collator takes them."""
        if "prompt_ids" not in dataset.column_names:
            return dataset
        names = ("chosen_ids", "rejected_ids")
        return Dataset.from_list([{name: [*pair["prompt_ids"], *pair[name]] for name in names} for pair in dataset])


def held_out_pairs(path: str, tokenizer: Any, *, max_length: int, seed: int) -> Sequence[AnyRow]:  # noqa: ANN401 - of transformers
    """Return the pairs of a held-out split that fit, of very many some by chance; none where none fits."""
    if not path:
        return []
    try:
        pairs, _ = rows_of(read_examples(Path(path), kinds=[PREFERENCE]), tokenizer, max_length=max_length)
    except TrainingStopped:  # the chat template rejects all of them
        return []
    return Random(seed).sample(pairs, MAX_MEASURED) if len(pairs) > MAX_MEASURED else pairs  # noqa: S311 - no secret


def correct_pairs(trainer: PairTrainer, pairs: Sequence[AnyRow]) -> int:
    """Return for how many pairs the preferred answer has the higher score."""
    dataset = trainer._prepare_dataset(Dataset.from_list([dict(pair.columns) for pair in pairs]))  # noqa: SLF001 - ours
    model: Any = trainer.model
    model.eval()
    correct = 0
    with torch.no_grad(), trainer.compute_loss_context_manager():
        for batch in DataLoader(dataset, trainer.args.eval_batch_size, collate_fn=trainer.data_collator):
            inputs: Any = trainer._prepare_inputs(batch)  # noqa: SLF001 - as its own loops call it
            chosen, rejected = model(**inputs, use_cache=False).logits.squeeze(-1).chunk(2)
            correct += int((chosen > rejected).sum())
    return correct
