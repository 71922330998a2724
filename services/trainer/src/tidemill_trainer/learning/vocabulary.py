"""Adds the tokens that a plan names to a tokenizer and a model.

Each new row is the mean of the rows of the tokens that its text was before (as in Gee et al., "Fast Vocabulary Transfer
for Language Model Compression", 2022), so that what it means is known roughly before the first step.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig
from tokenizers import AddedToken as TokenAsRead
from transformers import PretrainedConfig

from tidemill_core.models.json_files import TEXT_TOKENS
from tidemill_kit.models.control_tokens import ControlTokens, in_template
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
    """Add tokens to a tokenizer, as words of text that people may write, and return each with what it was before.

    Where the tokenizer reads a word with the space before it, as most do, there is one more token for the word with
    its space: else that space would become a token of its own. A byte-level tokenizer writes the bytes that the
    characters of a token stand for, which is another text for letters such as `ä`; after a space it does not, so that
    such a word is added with its space alone.

    Raises:
        TrainingStopped: BAD_RECIPE, where one is in the vocabulary or the chat template, is not read as one token or
            not written as it stands, or could be read in place of a control token.

    """
    control, known, templates = ControlTokens.of(tokenizer), tokenizer.get_vocab(), in_template(tokenizer, tokens)
    space = _read(tokenizer, " ")
    parts = dict[str, list[int]]()
    for token in tokens:
        before, after = _read(tokenizer, token), _read(tokenizer, f" {token}")
        if control.touches(token):
            raise _refused(token, f"has a control token of {base} in it, or could be read as a part of one")
        if token in templates:
            raise _refused(token, f"stands in the chat template of {base}")
        if token in known or f" {token}" in known or len(before) < 2:  # noqa: PLR2004 - else it is one token
            raise _refused(token, f"is one token of {base} already")
        parts |= {token: before, f" {token}": after}
    kept = _kept(tokenizer, list(parts))
    spelled = {f" {text}" for text in kept if parts.get(f" {text}") == [*space, *parts[text]]}
    added = [text for text in kept if text not in spelled]
    for token in tokens:
        if token not in added and f" {token}" not in added:
            text = f"is not read as one token by the tokenizer of {base} and written as it stands: it changes texts"
            raise _refused(token, text)
    tokenizer.add_tokens([_as_read(text) for text in added])
    tokenizer.init_kwargs[TEXT_TOKENS] = [*tokenizer.init_kwargs.get(TEXT_TOKENS, ()), *added]
    numbers = tokenizer.convert_tokens_to_ids(added)
    return [AddedToken(number, parts[text]) for number, text in zip(numbers, added, strict=True)]


def _kept(tokenizer: Any, texts: Sequence[str]) -> list[str]:  # noqa: ANN401 - of transformers
    """Return the texts that the tokenizer would read as one token and write as they stand."""
    tried = deepcopy(tokenizer)
    tried.add_tokens([_as_read(text) for text in texts])
    numbers = tried.convert_tokens_to_ids(list(texts))
    return [
        text
        for text, number in zip(texts, numbers, strict=True)
        if _read(tried, text) == [number] and tried.decode([number]).strip() == text.strip()
    ]


def _as_read(text: str) -> TokenAsRead:
    """Return a token that is read as a word, and not in the middle of another."""
    word = re.fullmatch(r"\w(.*\w)?", text) is not None
    return TokenAsRead(text, single_word=word, normalized=False)


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
