"""What the base says of rows before its weights change, where all of them are trained."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset  # type: ignore[import-untyped] # it ships no types
from torch.utils.data import DataLoader


def with_reference(trainer: Any, dataset: Dataset, *, batch_size: int, columns: Sequence[str]) -> Dataset:  # noqa: ANN401 - of TRL
    """Return the rows with the base's log probabilities in these columns, one number a row; every rank has all rows.

    TRL has rank 0 write them to a file beside the rows for all ranks; rows in memory have no such place.
    """
    loader = DataLoader(dataset, batch_size=batch_size, collate_fn=trainer.data_collator, shuffle=False)
    found: Mapping[str, list[torch.Tensor]] = {column: [] for column in columns}
    for batch in trainer.accelerator.prepare(loader):
        of_batch = trainer.compute_ref_log_probs(trainer.model, batch)
        for column, values in zip(columns, of_batch, strict=False):  # KTO's second is None where no column is for it
            found[column].append(trainer.accelerator.gather_for_metrics(values).cpu())
    for column, values in found.items():
        dataset = dataset.add_column(column, torch.cat(values).tolist())
    return dataset
