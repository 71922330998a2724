"""Examples one after the other in sequences of `max_length` tokens, as TRL packs them.

Best fit decreasing (Ding et al., "Fewer Truncations Improve Language Modeling", 2024): no example is cut, and each
begins at position 0 and attends to itself alone, so that what is learnt does not depend on its neighbours.
"""

from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset  # type: ignore[import-untyped] # it ships no types
from trl.data_utils import pack_dataset

from tidemill_core.errors import isolated
from tidemill_trainer.learning.examples import AnyRow, Packed
from tidemill_trainer.learning.failures import TrainingStopped

_IGNORED, _LEARNT = 0, 1
_PROBED = 8
"""Tokens of a sequence by which a model is asked whether it keeps examples apart."""


def packed(rows: Sequence[AnyRow], *, max_length: int) -> list[Packed]:
    """Return the sequences that TRL's trainer makes of these rows, in its order."""
    columns = [
        {"input_ids": row.tokens, "learnt": [_IGNORED] * row.prompt + [_LEARNT] * (len(row.tokens) - row.prompt)}
        for row in rows
    ]
    made = pack_dataset(Dataset.from_list(columns), max_length, "bfd")
    return [Packed(each["input_ids"], len(each["input_ids"]) - sum(each["learnt"])) for each in made]


def refuse_mixed(trainer: Any, *, name: str) -> None:  # noqa: ANN401 - of TRL
    """Check that what a model computes of an example does not depend on the one that is packed before it.

    Raises:
        TrainingStopped: BAD_RECIPE, where it does: some architectures know no positions that begin again.

    """
    if not keeps_apart(trainer.model, trainer.data_collator):
        message = f"args.packing: {name} would mix the examples of a sequence: leave packing out"
        raise TrainingStopped(message, reason="BAD_RECIPE")


def keeps_apart(model: Any, collator: Any) -> bool:  # noqa: ANN401 - of transformers and TRL
    """Return whether the logits of an example are the same after two others, given as the trainer gives them."""
    drawn, vocabulary = torch.Generator().manual_seed(0), model.get_input_embeddings().weight.shape[0]
    one, other, last = torch.randint(vocabulary, (3, _PROBED), generator=drawn).tolist()
    found = list[torch.Tensor]()
    was_training = model.training
    model.eval()
    try:
        with isolated(), torch.no_grad():
            for before in (one, other):
                tokens = [*before, *last]
                batch = collator([{"input_ids": tokens, "labels": tokens, "seq_lengths": [_PROBED, _PROBED]}])
                given = {key: each.to(model.device) if hasattr(each, "to") else each for key, each in batch.items()}
                found.append(model(**{**given, "labels": None}, use_cache=False).logits[0, _PROBED:].float())
    except Exception:  # noqa: BLE001 - a model that does not take what is given keeps nothing apart
        return False
    finally:
        model.train(was_training)
    return bool((found[0] - found[1]).abs().max() <= 1e-4 * found[0].abs().max())
