"""Adds the tokens that a plan names to a tokenizer and a model.

Each new row is the mean of the rows of the tokens that its text was before (as in Gee et al., "Fast Vocabulary Transfer
for Language Model Compression", 2022), so that what it means is known roughly before the first step.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig
from transformers import PretrainedConfig

from tidemill_core.models.json_files import TEXT_TOKENS
from tidemill_kit.models.control_tokens import ControlTokens
from tidemill_trainer.learning.failures import TrainingStopped

BAD_RECIPE = "BAD_RECIPE"
_PARTS = ("text_config",)
"""Of a config: that of the language model in it, as transformers names it."""


@dataclass(frozen=True, slots=True)
class AddedToken:
    """A token that was added, and the tokens that its text was before."""

    number: int
    parts: Sequence[int]


def add_tokens(tokenizer: Any, tokens: Sequence[str], *, base: str) -> list[AddedToken]:  # noqa: ANN401 - of transformers
    """Add tokens to a tokenizer, as text that people may write.

    Raises:
        TrainingStopped: BAD_RECIPE, where one is in the vocabulary, is not read as one token, or could be read in place
            of a control token.

    """
    control, known = ControlTokens.of(tokenizer), tokenizer.get_vocab()
    parts = [_read(tokenizer, token) for token in tokens]
    for token, before in zip(tokens, parts, strict=True):
        if control.touches(token):
            raise _refused(token, f"has a control token of {base} in it, or could be read as a part of one")
        if token in known or len(before) < 2:  # noqa: PLR2004 - else it is one token
            raise _refused(token, f"is one token of {base} already")
    tokenizer.add_tokens(list(tokens))
    numbers = tokenizer.convert_tokens_to_ids(list(tokens))
    for token, number in zip(tokens, numbers, strict=True):
        if _read(tokenizer, token) != [number]:
            raise _refused(token, f"is not read as one token by the tokenizer of {base}, which changes texts before")
    tokenizer.init_kwargs[TEXT_TOKENS] = [*tokenizer.init_kwargs.get(TEXT_TOKENS, ()), *tokens]
    return [AddedToken(number, before) for number, before in zip(numbers, parts, strict=True)]


def extended_config(config: PretrainedConfig, added: Sequence[AddedToken]) -> PretrainedConfig:
    """Return the config of a model that has rows for the added tokens: some have rows that are not used."""
    rows = max((each.number + 1 for each in added), default=0)
    if rows <= config.get_text_config().vocab_size:
        return config
    changed: PretrainedConfig = deepcopy(config)
    changed.get_text_config().vocab_size = rows
    return changed


def with_vocabulary(config: Mapping[str, Any], rows: int) -> Mapping[str, Any]:
    """Return the config of a model's folder with so many rows of the vocabulary, where it says how many there are."""
    changed = {name: with_vocabulary(part, rows) for name, part in config.items() if name in _PARTS}
    return {**config, **changed} | ({"vocab_size": rows} if "vocab_size" in config else {})


def extend(model: Any, added: Sequence[AddedToken]) -> None:  # noqa: ANN401 - of transformers
    """Give a model rows for the added tokens."""
    if not added:
        return
    rows = max(each.number + 1 for each in added)
    if rows > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(rows, mean_resizing=False)
    with torch.no_grad():
        for layer in _layers(model):
            for each in added:
                for values in (layer.weight, getattr(layer, "bias", None)):
                    if values is not None:
                        values[each.number] = values[list(each.parts)].float().mean(dim=0).to(values.dtype)


def with_rows(lora: LoraConfig, model: Any, added: Sequence[AddedToken]) -> LoraConfig:  # noqa: ANN401 - of transformers
    """Return the config of an adapter that also trains the rows of added tokens of this model."""
    if not added:
        return lora
    names = {id(layer): name for name, layer in model.named_modules()}
    changed: LoraConfig = copy(lora)
    numbers = [each.number for each in added]
    changed.trainable_token_indices = {names[id(layer)]: numbers for layer in _layers(model)}
    return changed


def _layers(model: Any) -> Iterator[Any]:  # noqa: ANN401 - of transformers
    """Yield the layers with a row for each token; of tied ones the first."""
    first, last = model.get_input_embeddings(), model.get_output_embeddings()
    yield first
    if last is not None and last.weight is not first.weight:
        yield last


def _read(tokenizer: Any, text: str) -> list[int]:  # noqa: ANN401 - ditto
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _refused(token: str, why: str) -> TrainingStopped:
    return TrainingStopped(f"added_tokens: {token!r} {why}: leave it out, or name another text", reason=BAD_RECIPE)
