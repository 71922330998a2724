"""Examples one after the other in sequences of `max_length` tokens, as TRL packs them.

Best fit decreasing (Ding et al., "Fewer Truncations Improve Language Modeling", 2024): no example is cut, and each
begins at position 0 and attends to itself alone, so that what is learnt does not depend on its neighbours.
"""

from collections.abc import Sequence

from datasets import Dataset  # type: ignore[import-untyped] # it ships no types
from trl.data_utils import pack_dataset

from tidemill_trainer.learning.examples import AnyRow, Packed

_IGNORED, _LEARNT = 0, 1


def packed(rows: Sequence[AnyRow], *, max_length: int) -> list[Packed]:
    """Return the sequences that TRL's trainer makes of these rows, in its order."""
    columns = [
        {"input_ids": row.tokens, "learnt": [_IGNORED] * row.prompt + [_LEARNT] * (len(row.tokens) - row.prompt)}
        for row in rows
    ]
    made = pack_dataset(Dataset.from_list(columns), max_length, "bfd")
    return [Packed(each["input_ids"], len(each["input_ids"]) - sum(each["learnt"])) for each in made]
