"""What a model computes on examples, which pruning reads."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from tidemill_trainer.learning.examples import DEMONSTRATION, PREFERENCE, UNPAIRED, AnyRow, drawn_examples, rows_of
from tidemill_trainer.learning.failures import TrainingStopped
from tidemill_trainer.learning.loading import load_tokenizer

NOT_SUPPORTED = "NOT_SUPPORTED"
MIN_EXAMPLES, MAX_EXAMPLES = 8, 64
"""Mean activations of more change little, and cost as much each."""
MAX_TOKENS = 512
"""Of one example, from its begin."""


def calibration_tokens(folder: Path, examples: Path, *, name: str) -> list[torch.Tensor]:
    """Return the tokens of some examples, drawn by chance and always alike, as rows of one.

    Raises:
        TrainingStopped: DATASET_TOO_SMALL; NOT_SUPPORTED, where the model has no chat template that takes them.

    """
    try:
        rows, offered = _usable(examples, load_tokenizer(folder, name=name))
    except TrainingStopped as error:
        raise TrainingStopped(error.message, reason=NOT_SUPPORTED) from error
    if len(rows) < MIN_EXAMPLES:
        message = f"{len(rows)} of {offered} examples are usable; at least {MIN_EXAMPLES} are needed"
        raise TrainingStopped(message, reason="DATASET_TOO_SMALL")
    return [torch.tensor([list(row.tokens[:MAX_TOKENS])]) for row in rows]


def _usable(examples: Path, tokenizer: Any) -> tuple[list[AnyRow], int]:  # noqa: ANN401 - of transformers
    """Return the first usable examples of an order drawn by chance, and how many were read for them."""
    rows, offered, refused = list[AnyRow](), 0, None
    found = drawn_examples(examples, kinds=(DEMONSTRATION, PREFERENCE, UNPAIRED), seed=0)
    while len(rows) < MAX_EXAMPLES and (some := list(islice(found, MAX_EXAMPLES))):
        offered += len(some)
        try:
            usable, _ = rows_of(some, tokenizer, max_length=2**31)
        except TrainingStopped as error:  # its chat template refuses all of these
            refused = error
            continue
        rows += usable
    if refused and not rows:
        raise refused
    return rows[:MAX_EXAMPLES], offered


class LayerInputs:
    """What the decoder layers of a model are given for rows of tokens, without a cache."""

    def __init__(self, model: Any, layers: Sequence[torch.nn.Module]) -> None:  # noqa: ANN401 - of transformers
        self._model, self._layers = model, layers

    def hidden(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        """Return the hidden states before each layer, and those after the last one."""
        states: list[torch.Tensor] = []
        handles = [
            layer.register_forward_pre_hook(
                lambda _, args, kwargs: states.append(_hidden(args, kwargs)), with_kwargs=True
            )
            for layer in self._layers
        ]
        handles.append(self._layers[-1].register_forward_hook(lambda _, __, output: states.append(first_of(output))))
        try:
            self._model.base_model(input_ids=tokens, use_cache=False)
        finally:
            for handle in handles:
                handle.remove()
        return states

    def arguments(self, tokens: torch.Tensor) -> tuple[torch.Tensor, list[dict[str, Any]]]:
        """Return the hidden states before the first layer, and what else each layer is given."""
        first: list[torch.Tensor] = []
        others: list[dict[str, Any]] = []

        def keep(_layer: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            first.append(_hidden(args, kwargs))
            others.append({name: value for name, value in kwargs.items() if name != "hidden_states"})

        handles = [layer.register_forward_pre_hook(keep, with_kwargs=True) for layer in self._layers]
        try:
            self._model.base_model(input_ids=tokens, use_cache=False)
        finally:
            for handle in handles:
                handle.remove()
        return first[0], others


def first_of(output: Any) -> torch.Tensor:  # noqa: ANN401 - a tensor or a tuple, by the architecture
    """Return the hidden states that a layer returns."""
    found: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return found


def _hidden(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    found: torch.Tensor = args[0] if args else kwargs["hidden_states"]
    return found
